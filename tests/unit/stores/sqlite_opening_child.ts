/** One of several processes that open the same new files in step; it throws if any cannot be opened. */
import { openSqliteLeases } from '../../../shared/stores/sqlite_store.ts'
import { openSqliteOnce } from '../../../shared/stores/sqlite_once.ts'

const [folder = '', startAtMs = '0', files = '0'] = process.argv.slice(2)
const STEP_MS = 10
for (let i = 0; i < Number(files); i++) {
  // Spinning, since only to the microsecond do they meet where it hurts.
  while (Date.now() < Number(startAtMs) + i * STEP_MS);
  const stores = [openSqliteLeases(`${folder}/${i}.db`, Date), openSqliteOnce(`${folder}/${i}.db`, Date)]
  await Promise.all(stores.map((store) => store.close()))
}
