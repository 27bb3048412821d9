/** One of several processes over one file: opens it, renews its own instance and a shared one, claims keys, reports. */
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import { openSqliteOnce } from '../../../shared/stores/sqlite_once.ts'
import { instance } from './instances.ts'

const [path = '', name = '', rounds = '0'] = process.argv.slice(2)
const leases = openSqliteLeases(path, Date)
const once = openSqliteOnce(path, Date)
let claimed = 0
for (let i = 0; i < Number(rounds); i++) {
  await leases.renew([instance({ id: name, weight: i }), instance({ id: 'shared' })])
  // Leaving and dropping the expired read before they write: a transaction must not find that another wrote in between.
  await leases.renew([instance({ id: `${name}-brief`, ttlMs: 1, incarnation: `life ${i}` })])
  await leases.leave('demo.Hello', `${name}-brief`, `life ${i - (i % 2)}`)
  await leases.list('demo.Hello')
  if (await once.claim(`key-${i}`, 60_000)) claimed++
}
await Promise.all([leases.close(), once.close()])
console.log(claimed)
