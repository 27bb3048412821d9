/** The smallest function: on Cloudflare this file is `main`, with the variables SHOAL_GATEWAY, SHOAL_URL, SHOAL_KEY. */
import { serve } from '../../shared/registry/serve.ts'
import { Hello } from './contract.ts'

export default serve(Hello, {
  sayHello: ({ name }) => ({ message: `hello ${name}` }),
})
