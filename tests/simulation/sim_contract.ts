import * as z from 'zod'
import { defineService, unary } from '../../shared/rpc/contract.ts'

const input = z.object({ call: z.number() })
const output = z.object({ call: z.number(), by: z.string() })

/** Where instances and gateways may be. */
export const ZONES = ['north', 'south'] as const

/** Two versions of one major: those who ask for the older alone are served by it alone. */
export const VERSIONS = ['1.0.0', '1.1.0'] as const
export const OLDER_ALONE = '1.0.x'

/** What a call is answered with by the gateway itself. */
export const FALLBACK = { call: -1, by: 'fallback' }

/** What the simulated instances serve: each answer says which call it is of, and who gave it. */
export const Sim = defineService({
  name: 'sim.Echo',
  version: '1.0.0',
  methods: {
    read: unary({ input, output, idempotent: true }),
    write: unary({ input, output, idempotent: false }),
  },
})
