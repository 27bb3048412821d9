import type { LinkedList } from '../base/linked_list.ts'
import type { ModelPaces } from './pace.ts'
import type { PoolCall } from './pool_call.ts'
import type { Run } from './run.ts'
import { mayRun, type Seat } from './seat.ts'
import type { SeatBook } from './seat_book.ts'

/** Seats that are compared before one is chosen: enough to find a quick one, whatever the number of workers. */
const SAMPLE = 8
/** A worker slower than others by less than this is given calls like them. */
const UNEVEN = 1.5
/** A run that takes so many times what it should is not waited for. */
const STUCK = 4

/** What waits for workers. */
export interface Backlog {
  /** Rows of the run that the call would go with. */
  rows: number
  /** Runs that wait, that one included. */
  runs: number
}

/**
 * The seat for a call: an idle one before one that computes; of those a GPU before a CPU; of those one that has the model
 * loaded before one that has not, and then the quickest. A seat that is slow, or would have to load the model first, is
 * passed over while quicker ones will have finished all that waits before it would finish this: so it takes a share of a
 * long queue, and is never what the last call of a short one waits for. Ref: Lin and Kumar, "Optimal control of a queueing
 * system with two heterogeneous servers", 1984: the slow server is used from a certain length of the queue on.
 *
 * @param backlog asked for only where workers differ
 * @returns a seat; 'later' if those that are free are not worth taking; undefined if none is free
 */
export function choose(
  book: SeatBook,
  paces: ModelPaces,
  call: PoolCall,
  backlog: (call: PoolCall) => Backlog,
  nowMs: () => number,
): Seat | 'later' | undefined {
  let passedOver = false
  for (const group of book.groups) {
    if (group.size === 0) continue
    const seat = quickest(group, paces, call)
    if (!seat) continue
    if (book.usable < 2) return seat
    if (isWorthIt(seat, book, paces, call, backlog, nowMs)) return seat
    passedOver = true
  }
  return passedOver ? 'later' : undefined
}

/** Whether `seat` would finish a run before the seat does that it waits on: not if it is slow and the other about to begin. */
export function isSooner(seat: Seat, run: Run, paces: ModelPaces, nowMs: number): boolean {
  const model = run.calls[0]?.model.sha256
  if (model === undefined) return true
  const mine = runMs(seat, paces, model, run.rows)
  const theirs = runMs(run.seat, paces, model, run.rows)
  if (mine === undefined || theirs === undefined || mine <= UNEVEN * theirs) return true
  return mine + remainingMs(seat, paces, nowMs) <= remainingMs(run.seat, paces, nowMs)
}

/** Milliseconds until a seat has finished what it has and a run of this model; undefined if nothing is known of it. */
function finishMs(seat: Seat, paces: ModelPaces, model: string, rows: number, nowMs: number): number | undefined {
  const ms = runMs(seat, paces, model, rows)
  return ms === undefined ? undefined : ms + remainingMs(seat, paces, nowMs)
}

function quickest(group: LinkedList<Seat>, paces: ModelPaces, call: PoolCall): Seat | undefined {
  const model = call.model.sha256
  if (group.size === 1) return group.first && mayRun(group.first, call.model) ? group.first : undefined
  let [cold, warm]: (Seat | undefined)[] = []
  let best = Infinity
  let seen = 0
  for (const seat of group) {
    if (!mayRun(seat, call.model)) continue
    if (!seat.models.has(model)) {
      cold ??= seat
      continue
    }
    // One that was never measured is tried before any that is known to be slow.
    const ms = runMs(seat, paces, model, call.rows) ?? 0
    if (ms < best) [best, warm] = [ms, seat]
    if (++seen === SAMPLE) break
  }
  return warm ?? cold
}

function isWorthIt(
  seat: Seat,
  book: SeatBook,
  paces: ModelPaces,
  call: PoolCall,
  backlog: (call: PoolCall) => Backlog,
  now: () => number,
): boolean {
  const model = call.model.sha256
  const usual = paces.usual(model, call.rows)
  const mine = usual === undefined ? undefined : runMs(seat, paces, model, call.rows)
  if (usual === undefined || mine === undefined || mine <= UNEVEN * usual) return true
  const { rows, runs } = backlog(call)
  const nowMs = now()
  const own = finishMs(seat, paces, model, rows, nowMs) ?? 0
  let [perMs, soonestMs] = [0, Infinity]
  for (const other of book.all) {
    if (other === seat || !other.open || !other.models.has(model) || !mayRun(other, call.model)) continue
    const ms = runMs(other, paces, model, rows)
    if (ms === undefined || ms * UNEVEN > own) continue
    const waitMs = remainingMs(other, paces, nowMs)
    if (waitMs === Infinity) continue
    perMs += 1 / ms
    soonestMs = Math.min(soonestMs, waitMs)
  }
  return perMs === 0 || own <= soonestMs + runs / perMs
}

function runMs(seat: Seat, paces: ModelPaces, model: string, rows: number): number | undefined {
  const known = seat.paces.get(model)?.expect(rows) ?? paces.guess(model, rows, seat.worker.weight)
  const ms = known === undefined ? undefined : known / seat.share
  if (seat.models.has(model)) return ms
  const loadMs = paces.loadMs(model)
  return loadMs === 0 ? ms : loadMs + (ms ?? paces.usual(model, rows) ?? 0)
}

/** Until it has finished what it has; without end if it is stuck. */
function remainingMs(seat: Seat, paces: ModelPaces, nowMs: number): number {
  let totalMs = 0
  for (const run of seat.runs) {
    const { calls, rows } = run
    const model = calls[0]?.model.sha256
    const ms = model === undefined ? 0 : runMs(seat, paces, model, rows) ?? 0
    const spentMs = run === seat.runs[0] ? nowMs - seat.computingSinceMs : 0
    if (spentMs > STUCK * ms) return Infinity
    totalMs += Math.max(0, ms - spentMs)
  }
  return totalMs
}
