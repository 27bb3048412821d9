import * as z from 'zod'
import { invalid } from '../wire/errors.ts'
import { LIMITS } from '../base/limits.ts'
import { show } from '../base/show.ts'
import { type BalancerName, BALANCERS } from './balancers.ts'

/** What a call is answered with when the service fails: declared by whoever calls, for only they know what will do. */
const fallback = z.union([
  /** This value, whatever was asked. */
  z.strictObject({ value: z.unknown() }),
  /** The last answer to the same question, while it is remembered. Idempotent calls alone. */
  z.strictObject({ lastGood: z.literal(true) }),
  /** The answer of another service that has the same method. */
  z.strictObject({ service: z.string().min(1).max(LIMITS.maxNameLength) }),
])

const methodFields = {
  /** The first included; 1 for no retries. DEFAULTS.maxAttempts where left out. */
  maxAttempts: z.int().min(1).max(10),
  /** After so long without an answer an attempt has failed, and may be made again elsewhere. Unary calls alone. */
  attemptTimeoutMs: z.int().min(1).max(LIMITS.maxTimeoutMs),
  /** Whether idempotent unary calls are made a second time elsewhere when they take longer than 95 % of them do. */
  hedge: z.boolean(),
  /** Bounds on calls under way, for each method. */
  bulkhead: z.strictObject({ maxConcurrent: z.int().min(1), maxQueued: z.int().min(0) }),
  fallback,
}

const methodPolicy = z.strictObject(methodFields).partial()

/** How calls of a service are routed. What is left out is as in DEFAULTS, or off. */
export const routingPolicy = z.strictObject({
  ...methodFields,
  balancer: z.enum(Object.keys(BALANCERS) as [BalancerName, ...BalancerName[]]),
  /** Balances over so many instances at most, another part for each caller. All by default. */
  subset: z.int().min(1),
  /**
   * Whether instances that fail every call are left out for a while, and for how long the first time. True by default.
   * `only: 'unanswered'`: those alone that cannot be reached, whatever else their answers say.
   */
  outliers: z.union([
    z.boolean(),
    z.strictObject({ baseMs: z.int().min(1), only: z.literal('unanswered') }).partial(),
  ]),
  /** Whether calls are refused for a while when half of them fail. True by default. */
  breaker: z.boolean(),
  /** What differs for single methods. */
  methods: z.record(z.string(), methodPolicy),
}).partial()

export type RoutingPolicy = z.output<typeof routingPolicy>
export type MethodPolicy = z.output<typeof methodPolicy>
export type Fallback = z.output<typeof fallback>

/**
 * Reads policies by service from JSON, `*` for all others: `{"demo.Hello": {"balancer": "round_robin", "hedge": true}}`.
 * @throws RpcError `invalid_argument` naming the place
 */
export function readPolicies(json: string): (service: string) => RoutingPolicy | undefined {
  const parsed = z.record(z.string(), routingPolicy).safeParse(parse(json), { reportInput: true })
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    // What is not known is named already, and a wrong type as well.
    const isSaid = !issue || issue.code === 'unrecognized_keys' || issue.message.includes('received')
    const got = isSaid ? '' : `, got ${show(issue.input)}`
    throw invalid(`Cannot read the routing policies: ${issue?.path.join('.') || 'the whole'}: ${issue?.message}${got}`)
  }
  const policies = new Map(Object.entries(parsed.data))
  return (service) => policies.get(service) ?? policies.get('*')
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (cause) {
    throw invalid(
      `Cannot read the routing policies: they must be JSON, got ${(cause as Error).message.slice(0, 160)}`,
      { cause },
    )
  }
}
