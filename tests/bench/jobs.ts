/** `node tests/bench/jobs.ts`: Shoal's jobs beside BullMQ's, alone; the suite `pool` calls `compareJobs`. */
import { join } from 'node:path'
import process from 'node:process'
import { startRedisServer } from '../../infra/local_redis.ts'
import { run } from '../../infra/tools.ts'
import { report, Series } from './figures.ts'
import type { SideFigures } from './jobs_side.ts'
import { installPeers } from './programs.ts'

const ROUNDS = 5
const JOBS = 5_000

/** Each by name: what Redis promises of what it has acknowledged, and how many jobs come with one submission. */
const CASES = {
  jobs_vs_bullmq: { fsync: 'everysec', perSubmission: 100 },
  jobs_vs_bullmq_one_by_one: { fsync: 'everysec', perSubmission: 1 },
  jobs_vs_bullmq_fsync_always: { fsync: 'always', perSubmission: 100 },
} as const

export const JOBS_SETUP = [
  `jobs: ${JOBS} of 100 B handed in, done (an echo, 32 at once) and read one by one, each side in a process like a gateway`,
  'both on the same redis-server, appendonly, appendfsync everysec or always; 100 jobs a submission, or one by one',
].join('; ')

export const JOBS_PACKAGES = ['bullmq', 'ioredis', 'redis']

/**
 * Adds `jobs_vs_bullmq` and its kin: jobs per second of Shoal over BullMQ's, equally durable, with what was lost and done
 * twice on our side.
 * @returns why it could not be measured, if so
 */
export async function compareJobs(series: Series): Promise<string | undefined> {
  const missing = await installPeers()
  if (missing) return missing
  for (const fsync of ['everysec', 'always'] as const) {
    await using redis = await startRedisServer({ args: ['--appendonly', 'yes', '--appendfsync', fsync] })
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, one] of Object.entries(CASES)) {
        if (one.fsync !== fsync) continue
        const [ours, theirs] = [
          await measure('shoal', redis.url, one.perSubmission),
          await measure('bullmq', redis.url, one.perSubmission),
        ]
        series.add(name, 'ratio', ours.jobsPerSecond / theirs.jobsPerSecond)
        series.add(`${name}_jobs_per_s`, '1/s', ours.jobsPerSecond)
        series.add(`${name}_bullmq_jobs_per_s`, '1/s', theirs.jobsPerSecond)
        series.add('jobs_lost', 'jobs', ours.lost)
        series.add('jobs_duplicated', 'jobs', ours.duplicated)
      }
    }
  }
  return undefined
}

async function measure(side: 'shoal' | 'bullmq', url: string, perSubmission: number): Promise<SideFigures> {
  const program = join(import.meta.dirname, 'jobs_side.ts')
  const { code, output } = await run(
    process.execPath,
    [program, side, url, String(JOBS), String(perSubmission)],
    'capture',
  )
  const line = output.split('\n').find((line) => line.startsWith('{'))
  if (code !== 0 || line === undefined) {
    throw new Error(`Cannot measure ${side}: it must end with figures, got ${output}`)
  }
  return JSON.parse(line) as SideFigures
}

if (import.meta.main) {
  const series = new Series()
  const missing = await compareJobs(series)
  const { figures } = report('jobs', JOBS_SETUP, JOBS_PACKAGES, series.figures(), missing ? [missing] : [])
  console.log(JOBS_SETUP)
  for (const [name, { median, min, max, unit }] of Object.entries(figures)) {
    console.log(`${name.padEnd(44)} ${median.toPrecision(4)} ${unit} (${min.toPrecision(4)} to ${max.toPrecision(4)})`)
  }
  if (missing) console.log(`not measured: ${missing}`)
}
