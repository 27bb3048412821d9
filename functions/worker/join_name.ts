import type { Random } from '../../shared/base/random.ts'
import { readSession, writeSession } from '../console/session_key.ts'

const STORED_AS = 'shoal.worker'
const MOODS = 'brave bright calm clever eager gentle keen lively merry nimble patient quick quiet steady sunny swift'
const FISH = 'anchovy bream carp cod dace dory goby guppy herring mackerel mullet perch roach salmon sardine trout'

/** A short readable name such as `calm-herring-42`. Not unique: the relay gives each worker an id of its own. */
export function drawName(random: Random): string {
  const pick = (words: string) => {
    const all = words.split(' ')
    return all[Math.floor(random() * all.length)]
  }
  return `${pick(MOODS)}-${pick(FISH)}-${10 + Math.floor(90 * random())}`
}

/** The name that this tab joins under: the one given, else the one it had before, else a new one. */
export function tabName(given: string | null, random: Random): string {
  const name = given || readSession(STORED_AS) || drawName(random)
  writeSession(STORED_AS, name)
  return name
}
