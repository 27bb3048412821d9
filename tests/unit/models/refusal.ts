import { assert } from 'chai'
import { type ErrorCode, RpcError } from '../../../shared/wire/errors.ts'

/** Asserts that `action` throws an RpcError with this code and a message that matches. @returns the error */
export function assertRefused(action: () => unknown, message: RegExp, code: ErrorCode = 'invalid_argument'): RpcError {
  let thrown: unknown
  try {
    action()
  } catch (error) {
    thrown = error
  }
  return assertRpcError(thrown, message, code)
}

/** Asserts that a promise rejects with an RpcError with this code and a message that matches. */
export async function assertRejects(
  action: Promise<unknown>,
  message: RegExp,
  code: ErrorCode = 'invalid_argument',
): Promise<void> {
  const thrown = await action.then(() => undefined, (error) => error)
  assertRpcError(thrown, message, code)
}

function assertRpcError(thrown: unknown, message: RegExp, code: ErrorCode): RpcError {
  if (!(thrown instanceof RpcError)) throw new Error('expected an RpcError', { cause: thrown })
  assert.match(thrown.message, message)
  assert.equal(thrown.code, code)
  return thrown
}
