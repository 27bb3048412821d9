import type { Link } from '../base/linked_list.ts'
import { RpcError } from '../wire/errors.ts'
import type { PoolCall } from './pool_call.ts'
import type { Seat, WorkerReply } from './seat.ts'

/** Calls that one worker computes together. */
export interface Run {
  /** Order of sending, over all workers. */
  readonly number: number
  readonly calls: readonly PoolCall[]
  /** Of all calls together. */
  readonly rows: number
  readonly seat: Seat
  /** Ends the run on its worker. */
  readonly cancel: AbortController
  /** Calls whose callers still wait. */
  live: number
  /** Answered, failed or taken back: what its worker still says of it is ignored. */
  over: boolean
  /** True if its worker vanished before it can have begun: it is not what took the worker down. */
  spared: boolean
  /** No caller waits for it: it checks what another worker has answered. */
  readonly isCheck: boolean
  /** Its place among the runs that wait behind another. */
  behind: Link<Run> | undefined
}

/** A run of calls that wait no more. */
export function startRun(number: number, calls: readonly PoolCall[], seat: Seat, isCheck = false): Run {
  let rows = 0
  for (const call of calls) rows += call.rows
  const run: Run = {
    number,
    calls,
    rows,
    seat,
    cancel: new AbortController(),
    live: calls.length,
    over: false,
    spared: false,
    isCheck,
    behind: undefined,
  }
  for (const call of calls) {
    call.run = run
    call.sent = true
  }
  return run
}

/** @throws RpcError `internal` if the answer is not one for each call */
export function checkReply(reply: WorkerReply, calls: number): void {
  if (reply.calls.length === calls) return
  throw new RpcError(
    'internal',
    `Cannot use the worker's answer: it must hold ${calls} results, got ${reply.calls.length}`,
  )
}
