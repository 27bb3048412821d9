import * as z from 'zod'

// Zod compiles schemas with `new Function` where it may. These pages forbid that, and each attempt would be reported as
// a violation of their content security policy.
z.config({ jitless: true })
