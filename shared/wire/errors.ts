/** The 16 canonical codes of gRPC and Connect, with Connect's HTTP status map. https://connectrpc.com/docs/protocol */
const HTTP_STATUS = {
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
} as const

export type ErrorCode = keyof typeof HTTP_STATUS

/** Statuses of answers that did not come from Shoal (a proxy, a crashed function), read as Connect reads them. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'internal',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'unimplemented',
  429: 'unavailable',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
}

export interface ErrorOptions {
  /** Machine-readable particulars, sent with the error. */
  details?: readonly unknown[]
  /** The local reason; never sent. */
  cause?: unknown
  /** The server's wish that the caller wait before it tries again. */
  retryAfterMs?: number
  /** True when the callee cannot have begun the work, so that even a call with effects may be tried elsewhere. */
  neverSent?: boolean
  /** True of an error made on this side because a connection failed: nobody answered. Never sent. */
  unanswered?: boolean
}

/** What travels: Connect's error JSON. */
export interface ErrorJson {
  code: ErrorCode
  message: string
  details?: readonly unknown[]
}

/** The one error class. Messages read "Cannot <action>: <requirement>, got <value>". */
export class RpcError extends Error {
  override readonly name = 'RpcError'
  readonly code: ErrorCode
  readonly details: readonly unknown[]
  readonly retryAfterMs: number | undefined
  readonly neverSent: boolean
  readonly unanswered: boolean
  /** Set by a router: how many attempts it made, as in the header `shoal-attempts`. */
  attempts: string | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? []
    this.retryAfterMs = options.retryAfterMs
    this.neverSent = options.neverSent ?? false
    this.unanswered = options.unanswered ?? false
  }

  get httpStatus(): number {
    return HTTP_STATUS[this.code]
  }

  toJSON(): ErrorJson {
    return { code: this.code, message: this.message, ...(this.details.length > 0 && { details: this.details }) }
  }

  /** Any thrown value as an RpcError. What is not ours becomes `internal` with a plain message; the cause stays here. */
  static from(thrown: unknown): RpcError {
    if (thrown instanceof RpcError) return thrown
    if (thrown instanceof DOMException && thrown.name === 'TimeoutError') {
      return new RpcError('deadline_exceeded', 'Cannot finish the call: its deadline passed', { cause: thrown })
    }
    if (thrown instanceof DOMException && thrown.name === 'AbortError') {
      return new RpcError('canceled', 'Cannot finish the call: the caller cancelled it', { cause: thrown })
    }
    return new RpcError('internal', 'Cannot finish the call: the server failed unexpectedly', { cause: thrown })
  }

  /** Reads an error that another party sent; anything malformed is `unknown`. */
  static fromJson(json: unknown, options: ErrorOptions = {}): RpcError {
    const { code, message, details } = (json ?? {}) as Partial<Record<keyof ErrorJson, unknown>>
    return new RpcError(
      isErrorCode(code) ? code : 'unknown',
      typeof message === 'string' ? message : 'The other side failed without saying why',
      { ...options, details: Array.isArray(details) ? details : [] },
    )
  }

  static codeOfStatus(status: number): ErrorCode {
    return CODE_OF_STATUS[status] ?? 'unknown'
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(HTTP_STATUS, value)
}

/** The refusal of bad input: what was being done, what was required, what came instead. */
export function invalid(message: string, options?: ErrorOptions): RpcError {
  return new RpcError('invalid_argument', message, options)
}
