import { DEFAULTS } from '../../shared/base/defaults.ts'
import type { LeaseStore } from '../../shared/stores/lease_store.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { SimProcess } from './sim_process.ts'
import type { World } from './world.ts'

/** The store, as a process reaches it: each request and answer may be lost, late or doubled, and times out. */
export function storeOver(
  world: World,
  process: SimProcess,
): Pick<LeaseStore, 'renew' | 'leave' | 'list'> {
  const { network, store, observer } = world
  const ask = <T>(work: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const away = () => reject(new RpcError('unavailable', 'the store does not answer'))
      const cancel = process.after(DEFAULTS.redisTimeoutMs, away)
      network.datagram(process.name, 'store', () => {
        if (!store.isUp) return
        work().then(
          (answer) =>
            network.datagram('store', process.name, () =>
              process.run(() => {
                cancel()
                resolve(answer)
              })),
          reject,
        )
      })
    })
  const renew = world.parts.renewing((instances) => store.renew(instances))
  return {
    renew: (instances) =>
      ask(async () => {
        const refused = await renew(instances)
        for (const instance of instances) observer.onRenewed(instance, refused.includes(instance))
        return refused
      }),
    leave: (service, id, incarnation) =>
      ask(async () => {
        await store.leave(service, id, incarnation)
        observer.onLeft(id, incarnation)
      }),
    list: (service, sinceRevision) => ask(() => store.list(service, sinceRevision)),
  }
}
