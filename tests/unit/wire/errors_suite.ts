import { assert } from 'chai'
import { type ErrorCode, invalid, isErrorCode, RpcError } from '../../../shared/wire/errors.ts'
import type { Suite } from '../../suite.ts'

/** Connect's table, copied from https://connectrpc.com/docs/protocol#error-codes and not from our code. */
const CONNECT_STATUS: Record<ErrorCode, number> = {
  canceled: 499,
  unknown: 500,
  invalid_argument: 400,
  deadline_exceeded: 504,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 400,
  aborted: 409,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  data_loss: 500,
  unauthenticated: 401,
}

export const errorsSuite: Suite = {
  name: 'errors',
  cases: {
    'codes have the HTTP statuses of Connect': () => {
      for (const [code, status] of Object.entries(CONNECT_STATUS)) {
        assert.isTrue(isErrorCode(code), code)
        assert.equal(new RpcError(code as ErrorCode, 'x').httpStatus, status, code)
      }
    },

    'statuses of strangers are read as Connect reads them': () => {
      const expected = [[400, 'internal'], [401, 'unauthenticated'], [403, 'permission_denied'], [404, 'unimplemented']]
      for (const [status, code] of expected) assert.equal(RpcError.codeOfStatus(status as number), code)
      for (const status of [429, 502, 503, 504]) assert.equal(RpcError.codeOfStatus(status), 'unavailable')
      for (const status of [200, 418, 500, 599]) assert.equal(RpcError.codeOfStatus(status), 'unknown')
    },

    'an error survives the trip through JSON': () => {
      const sent = new RpcError('not_found', 'Cannot find it', { details: [{ model: 'mnist' }] })
      const received = RpcError.fromJson(JSON.parse(JSON.stringify(sent)))
      assert.instanceOf(received, RpcError)
      assert.equal(received.code, 'not_found')
      assert.equal(received.message, 'Cannot find it')
      assert.deepEqual(received.details, [{ model: 'mnist' }])
    },

    'cause, back-off and the local mark stay off the wire': () => {
      const error = new RpcError('unavailable', 'Cannot reach it', {
        cause: new Error('password=secret'),
        retryAfterMs: 50,
        neverSent: true,
      })
      assert.deepEqual(JSON.parse(JSON.stringify(error)), { code: 'unavailable', message: 'Cannot reach it' })
      assert.equal((error.cause as Error).message, 'password=secret')
      assert.equal(error.retryAfterMs, 50)
      assert.isTrue(error.neverSent)
    },

    'malformed errors become unknown and never throw': () => {
      for (
        const json of [null, undefined, 7, 'text', [], {}, { code: 'toString' }, { code: 5, message: 6, details: 7 }]
      ) {
        const error = RpcError.fromJson(json)
        assert.equal(error.code, 'unknown')
        assert.equal(error.message, 'The other side failed without saying why')
        assert.deepEqual(error.details, [])
      }
    },

    'what this runtime throws on a time-out and on an abort is understood': async () => {
      const timedOut = await rejection(aborted(AbortSignal.timeout(1)))
      assert.equal(RpcError.from(timedOut).code, 'deadline_exceeded')
      const controller = new AbortController()
      controller.abort()
      assert.equal(RpcError.from(controller.signal.reason).code, 'canceled')
    },

    'any other thrown value becomes internal and does not leak its text': () => {
      for (const thrown of [new Error('password=secret'), 'password=secret', undefined, null, 3]) {
        const error = RpcError.from(thrown)
        assert.equal(error.code, 'internal')
        assert.notInclude(error.message, 'secret')
        assert.equal(error.cause, thrown)
      }
    },

    'an RpcError passes through as it is': () => {
      const error = invalid('Cannot add: both must be numbers, got "a"')
      assert.strictEqual(RpcError.from(error), error)
      assert.equal(error.code, 'invalid_argument')
      assert.equal(error.name, 'RpcError')
      assert.instanceOf(error, Error)
    },
  },
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
}

function rejection(promise: Promise<never>): Promise<unknown> {
  return promise.catch((error: unknown) => error)
}
