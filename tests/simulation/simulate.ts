import { TTL_MS } from './observer.ts'
import { type Parts, REAL } from './parts.ts'
import { CALL_TIMEOUT_MS } from './sim_gateway.ts'
import { heal, trouble } from './troubles.ts'
import { pick, World } from './world.ts'

export interface Run {
  seed: number
  /** The rules that were broken; none in a good run. */
  violations: string[]
  /** Everything that happened, a line each. */
  history: string[]
  /** Of the history: the same seed gives the same. */
  hash: string
  calls: number
  attempts: number
}

/** How long trouble lasts, and how many calls a second there are meanwhile. */
const TROUBLE_MS = 60_000
const CALLS_PER_SECOND = 1
/** The longest it takes until all who died are presumed dead: five leases, and a restart that was under way. */
const SETTLE_MS = 6.5 * TTL_MS
/** In some runs every instance fails at once, under load. */
const STORM_MS = 4_000
const STORM_CALLS_PER_SECOND = 100

/** Runs a registry, its instances and gateways through trouble drawn from `seed`, then in peace, and says what broke. */
export async function simulate(seed: number, parts: Parts = REAL): Promise<Run> {
  // Nobody reads where a simulated error came from, and finding out costs more than all else.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return await runWorld(seed, new World(seed, parts))
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

async function runWorld(seed: number, world: World): Promise<Run> {
  const { random, observer, time } = world
  const count = 3 + Math.floor(random() * 4)
  for (let i = 0; i < count; i++) world.startInstance(`i${i}`)
  world.startGateway()
  if (random() < 0.3) world.startGateway()
  await world.callFor(2_000, CALLS_PER_SECOND)

  // One that has heard of a single instance yet may have nobody else to try, until its table is read again.
  const informed = world.gateways.filter((gateway) => gateway.known().length !== 1)
  const failedReads = () => informed.reduce((sum, { failed }) => sum + failed.read, 0)
  observer.note('-- one instance dies')
  const readsBefore = failedReads()
  pick([...world.instances.values()], random)?.kill()
  await world.callFor(2_000, 4)
  if (failedReads() > readsBefore) observer.violate('no read fails when one instance dies', 'some did')

  if (random() < 0.05) {
    // All calls, upon which the breaker opens, or so many that it does not.
    const behaviour = random() < 0.5 ? 'failing' : 'flaky'
    observer.note(`-- every instance is ${behaviour}`)
    for (const instance of world.instances.values()) instance.behaviour = behaviour
    await world.callFor(STORM_MS, STORM_CALLS_PER_SECOND)
    heal(world)
  }
  const meanGapMs = 1_000 + random() * 10_000
  for (const untilMs = time.now() + TROUBLE_MS; time.now() < untilMs;) {
    await trouble(world)
    await world.callFor(-Math.log(1 - random()) * meanGapMs, CALLS_PER_SECOND)
  }

  observer.note('-- peace')
  world.setStoreUp(true)
  heal(world)
  for (const { process } of world.everyLife) process.wake()
  for (const { record, isServing } of [...world.instances.values()]) {
    if (!isServing && random() < 0.7) world.startInstance(record.id)
  }
  while (world.live().size < 2) world.startInstance(`i${world.instances.size}`)
  await world.callFor(SETTLE_MS, 0.2)
  heal(world)
  const failures = () => world.gateways.reduce((sum, { failed }) => sum + failed.read + failed.write, 0)
  const failedBefore = failures()
  await world.callFor(3_000, 4)
  await time.runUntil(time.now() + CALL_TIMEOUT_MS * 1.1)
  const failed = failures() - failedBefore
  if (failed > 0) observer.violate('in peace every call succeeds', `${failed} failed`)
  for (const gateway of world.gateways) {
    const expected = [...world.live()].sort().join(' ')
    const known = gateway.known().sort().join(' ')
    if (known !== expected) observer.violate('in peace the table is true', `${known}, not ${expected}`)
  }
  await world.close()
  return {
    seed,
    violations: [...observer.violations],
    history: observer.lines,
    hash: observer.hash,
    calls: world.gateways.reduce((sum, { calls }) => sum + calls, 0),
    attempts: world.gateways.reduce((sum, { attempts }) => sum + attempts, 0),
  }
}

export function replayCommand(seed: number): string {
  return `npm run simulate -- --seeds 1 --seed ${seed} --history`
}
