import { RpcError } from '../../shared/wire/errors.ts'

/** The error that a call must end with. */
export async function refusal(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call
  } catch (thrown) {
    if (thrown instanceof RpcError) return thrown
    throw thrown
  }
  throw new Error('Expected an RpcError, but the call succeeded')
}

/**
 * Asks again and again, letting time go by in between, until the answer is yes. Gives up after a great many times: a minute
 * and more by the clock, since a machine that others keep busy takes many times as long as one of its own.
 */
export async function eventually(
  ask: () => Promise<boolean>,
  elapse: (ms: number) => Promise<void> = realTime,
): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (await ask()) return
    await elapse(20)
  }
  throw new Error('Expected something that has not come about')
}

export function realTime(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
