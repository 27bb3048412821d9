import { type Bytes, sha256Hex } from '../../../shared/base/bytes.ts'
import { LIMITS } from '../../../shared/base/limits.ts'
import { wordIssue } from '../../../shared/base/schema_issue.ts'
import { Inference } from '../../../shared/contracts/inference.ts'
import { isInternal } from '../../../shared/contracts/internal.ts'
import { jobRequest } from '../../../shared/contracts/jobs.ts'
import type { JobOrder } from '../../../shared/jobs/job_desk.ts'
import type { Message } from '../../../shared/jobs/job_task.ts'
import { readBody } from '../../../shared/rpc/http.ts'
import { withStatus } from '../../../shared/rpc/http_error.ts'
import { decode, decodeJson } from '../../../shared/wire/codec.ts'
import { invalid, RpcError } from '../../../shared/wire/errors.ts'
import { encodePayload } from '../../../shared/wire/payload.ts'

export interface Submission {
  orders: JobOrder[]
  /** Whether they came as a list: so will their ids go. */
  isBatch: boolean
  key?: { name: string; fingerprint: string }
}

/**
 * Reads `POST /jobs`: one job as JSON or msgpack, or many as a list of these, or as NDJSON. A list is one message and has
 * its bounds; lines of NDJSON are messages of their own, so thousands of jobs come as lines.
 */
export async function readSubmission(request: Request): Promise<Submission> {
  const mime = (request.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const codec = CODECS[mime]
  if (!codec) {
    const expected = Object.keys(CODECS).join(', ')
    throw withStatus(
      415,
      new RpcError(
        'unimplemented',
        `Cannot read the jobs: content-type must be one of ${expected}, got ${mime || 'none'}`,
      ),
    )
  }
  const body = await readBody(request, codec === 'msgpack' ? LIMITS.maxMessageBytes : LIMITS.maxJsonBytes)
  const name = readKey(request.headers.get('idempotency-key'))
  return {
    ...(codec === 'lines' ? { orders: ordersOfLines(body), isBatch: true } : ordersOf(body, codec)),
    ...(name !== undefined && { key: { name, fingerprint: await sha256Hex(body) } }),
  }
}

function ordersOf(body: Bytes, codec: 'json' | 'msgpack'): Pick<Submission, 'orders' | 'isBatch'> {
  const message = codec === 'json' ? decodeJson(body) : decode(body)
  const isBatch = Array.isArray(message)
  const items: unknown[] = isBatch ? message : [message]
  requireCount(items.length)
  return { orders: items.map((item, i) => toOrder(item, codec, isBatch ? `at ${i}, ` : '')), isBatch }
}

const CODECS: Readonly<Record<string, 'json' | 'msgpack' | 'lines'>> = {
  'application/json': 'json',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
  'application/x-ndjson': 'lines',
  'application/jsonl': 'lines',
}

/**
 * Each line becomes an order before the next is read: what lines hold once read may be many times their bytes, and there
 * are 32 MiB of them.
 */
function ordersOfLines(body: Bytes): JobOrder[] {
  const count = countLines(body)
  requireCount(count)
  const orders: JobOrder[] = []
  for (const line of linesOf(body)) orders.push(toOrder(decodeJson(line), 'json', `at ${orders.length}, `))
  return orders
}

/** Counted first: refusing the last line too many must not cost the work of all before it. */
function countLines(body: Bytes): number {
  let count = 0
  for (const _ of linesOf(body)) count++
  return count
}

/** Lines with more than white space in them. No byte of a longer UTF-8 character is a line's end. */
function* linesOf(body: Bytes): Generator<Bytes> {
  for (let at = 0; at < body.byteLength;) {
    const found = body.indexOf(NEWLINE, at)
    const end = found < 0 ? body.byteLength : found
    while (at < end && WHITE_SPACE.includes(body[at] ?? 0)) at++
    if (at < end) yield body.subarray(at, end)
    at = end + 1
  }
}

const NEWLINE = 0x0a
const WHITE_SPACE: readonly number[] = [0x20, 0x09, 0x0d]

function requireCount(count: number): void {
  if (count >= 1 && count <= LIMITS.maxJobBatch) return
  throw invalid(`Cannot read the jobs: 1 to ${LIMITS.maxJobBatch} may come at once, got ${count}`)
}

/** A quoted string, as the draft standard has it, or plain text. */
function readKey(header: string | null): string | undefined {
  if (header === null) return undefined
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header
  if (key.length >= 1 && key.length <= LIMITS.maxNameLength && /^[ -~]+$/.test(key)) return key
  throw invalid(
    `Cannot read the jobs: idempotency-key must be 1 to ${LIMITS.maxNameLength} characters of ASCII, got ${key.length}`,
  )
}

function toOrder(item: unknown, codec: Message['codec'], where: string): JobOrder {
  const parsed = jobRequest.safeParse(item)
  if (!parsed.success) {
    throw invalid(`Cannot read the job: ${where}${wordIssue(innermost(parsed.error.issues[0]))}`)
  }
  const { options } = parsed.data
  const { service, method, version, group, params } = 'model' in parsed.data ? inferenceOf(parsed.data) : parsed.data
  if (isInternal(service)) {
    throw new RpcError('permission_denied', `Cannot submit the job: ${service} is between Shoal's own parts`)
  }
  const isInference = service === Inference.name
  return {
    service,
    method,
    version: version ?? '',
    group: group ?? 'default',
    params: encodePayload(isInference ? behindCalls(params) : params ?? null, codec) as Message,
    ...options,
  }
}

/** A model by its name is a call of `shoal.Inference`. */
function inferenceOf({ options: _, ...params }: { options: unknown; model: string }) {
  return { service: Inference.name, method: 'infer', version: undefined, group: undefined, params }
}

/** In a pool's queue, jobs stand behind calls that someone waits for. */
function behindCalls(params: unknown): unknown {
  return typeof params === 'object' && params !== null ? { ...params, priority: 'low' } : params
}

interface Issue {
  path: PropertyKey[]
  message: string
  errors?: Issue[][]
}

/** Of a union's issues the first that says more than that no member fits: that of the member which fits best. */
function innermost(issue: Issue | undefined): Issue | undefined {
  const deepest = issue?.errors?.reduce<Issue[] | undefined>(
    (best, one) => !best || one.length < best.length ? one : best,
    undefined,
  )
  return deepest?.length === 1 ? { ...deepest[0], path: deepest[0]?.path ?? [] } as Issue : issue
}
