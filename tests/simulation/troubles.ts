import type { Random } from '../../shared/base/random.ts'
import { TTL_MS } from './observer.ts'
import { ZONES } from './sim_contract.ts'
import type { SimInstance } from './sim_instance.ts'
import { pick, type World } from './world.ts'

type Trouble = (world: World, random: Random) => void | Promise<void>

/** Most that may be cut off the store at once, or for longer than it takes to be presumed dead. */
const SHORT_CUT_MS = 2 * TTL_MS

const some = ({ instances, random }: World, isWanted: (instance: SimInstance) => boolean) =>
  pick([...instances.values()].filter(isWanted), random)
const running = (world: World) => some(world, ({ isServing }) => isServing)
const gateway = (world: World) => pick(world.gateways, world.random)?.process.name ?? 'g0'
const instanceName = (world: World) => pick([...world.instances.keys()], world.random) ?? 'i0'

/** Cuts a line for a while. */
function cut(world: World, a: string, b: string, ms: number): void {
  const line = world.network.line(a, b)
  line.isCut = true
  world.observer.note(`cut ${a} ${b}`)
  world.time.after(ms, () => world.network.heal([line]))
}

function cutOffMany(world: World, ms: number): void {
  for (const id of world.instances.keys()) if (world.random() < 0.7) cut(world, id, 'store', ms)
}

/** How often a clock may leap within a lease: see leap.  */
const LEAPS = 3

/** What can go wrong, each by its name in the history. */
export const TROUBLES = {
  'lossy line to the store': (world, random) => {
    const line = world.network.line(pick([instanceName(world), gateway(world)], random) ?? '', 'store')
    line.dropRate = random() * 0.6
    line.duplicateRate = random() * 0.3
    line.maxDelayMs = random() * 3_000
  },
  'all lines to the store lossy': (world, random) => {
    for (const id of world.instances.keys()) world.network.line(id, 'store').dropRate = random() * 0.6
  },
  'slow line between gateway and instance': (world, random) => {
    Object.assign(world.network.line(gateway(world), instanceName(world)), {
      dropRate: random() * 0.3,
      maxDelayMs: random() * 500,
    })
  },
  'partition of gateway and instance': (world, random) =>
    cut(world, gateway(world), instanceName(world), random() * 20_000),
  'partition of gateway and store': (world, random) => cut(world, gateway(world), 'store', random() * 4 * TTL_MS),
  'partition of instance and store': (world, random) => cut(world, instanceName(world), 'store', random() * 3 * TTL_MS),
  'partition of many instances and the store': (world, random) => cutOffMany(world, random() * SHORT_CUT_MS),
  'store is away': (world, random) => {
    world.setStoreUp(false)
    world.time.after(random() * 3 * TTL_MS, () => world.setStoreUp(true))
  },
  'store loses its last writes': async (world, random) => {
    if (!world.mayLose()) return
    await world.store.goBackTo(world.time.now() - random() * 10_000)
    world.observer.onStoreLoss('lost its last writes', 'some')
  },
  'store goes back to a snapshot': async (world, random) => {
    if (!world.mayLose()) return
    await world.store.goBackTo(world.time.now() - random() * 60_000)
    world.observer.onStoreLoss('went back to a snapshot', 'some')
  },
  'store loses who have just joined': (world, random) => {
    if (!world.mayLose()) return
    const beforeMs = world.time.now()
    for (let n = 0; n < 3 && world.instances.size < 8; n++) world.startInstance(`i${world.instances.size}`)
    world.time.after(2_000 + random() * 3_000, async () => {
      await world.store.goBackTo(beforeMs)
      world.observer.onStoreLoss('lost who had joined', 'some')
    })
  },
  'store is empty': async (world) => {
    if (!world.mayLose()) return
    await world.store.goBackTo(-Infinity)
    world.observer.onStoreLoss('is empty', 'all')
  },
  'clock of the store leaps': leap,
  'clock of the store leaps again and again': (world, random) => {
    for (let i = 0; i < LEAPS; i++) world.time.after(random() * TTL_MS, () => leap(world))
  },
  'clock of the store leaps while many are cut off it': (world, random) => {
    cutOffMany(world, random() * SHORT_CUT_MS)
    world.time.after(random() * SHORT_CUT_MS, () => leap(world))
  },
  'a zone dies': (world, random) => {
    const zone = pick(ZONES, random)
    const doomed = [...world.instances.values()].filter(({ record, isServing }) => isServing && record.zone === zone)
    if (!world.isVaried || world.live().size - doomed.length < 2) return
    for (const instance of doomed) instance.kill()
    world.time.after(random() * 4 * TTL_MS, () => {
      for (const instance of doomed) {
        if (world.instances.get(instance.record.id) === instance) world.startInstance(instance.record.id)
      }
    })
  },
  'instance is killed': (world) => running(world)?.kill(),
  'instance is killed and started again': (world, random) => {
    const doomed = running(world)
    if (!doomed) return
    doomed.kill()
    const { id } = doomed.record
    world.time.after(random() * 20_000, () => world.instances.get(id) === doomed && world.startInstance(id))
  },
  'instance leaves': (world) => {
    if (world.live().size > 2) running(world)?.leave()
  },
  'instance is paused': (world, random) => {
    const paused = running(world)
    if (!paused) return
    world.observer.note(`pause ${paused.record.id}`)
    paused.process.pause()
    world.time.after(random() * 3 * TTL_MS, () => paused.process.wake())
  },
  'instance is replaced while it is paused': (world, random) => {
    const zombie = running(world)
    if (!zombie) return
    zombie.process.pause()
    world.startInstance(zombie.record.id)
    world.time.after(5_000 + random() * 20_000, () => zombie.process.wake())
  },
  'instance joins': (world) => {
    if (world.instances.size < 8) world.startInstance(`i${world.instances.size}`)
  },
  'instance is slow': (world) => void Object.assign(running(world) ?? {}, { behaviour: 'slow' }),
  'instance fails': (world) => void Object.assign(running(world) ?? {}, { behaviour: 'failing' }),
  'all is well again': (world) => heal(world),
} satisfies Record<string, Trouble>

/** The store's clock leaps, by up to an hour. */
function leap(world: World): void {
  world.store.leap(world.random() * 3_600_000)
  world.observer.onStoreLoss('clock leapt', 'nothing')
}

/** Ends what is wrong with lines and behaviours. Who is dead stays dead. */
export function heal(world: World): void {
  world.network.heal()
  for (const instance of world.everyLife) instance.behaviour = 'sound'
}

/** Something goes wrong, or right again. */
export async function trouble(world: World): Promise<void> {
  const { random } = world
  const name = pick(Object.keys(TROUBLES) as (keyof typeof TROUBLES)[], random)
  if (!name) return
  world.observer.note(`-- ${name}`)
  await (TROUBLES[name] as Trouble)(world, random)
}
