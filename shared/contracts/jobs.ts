import * as z from 'zod'
import { DEFAULTS } from '../base/defaults.ts'
import { LIMITS } from '../base/limits.ts'
import { isRange } from '../base/version.ts'
import { defineService, unary } from '../rpc/contract.ts'
import { name } from './fields.ts'

const wholeMs = z.number().int().min(1)

/** How a job is to be treated. */
export const jobOptions = z.strictObject({
  /** Which of the jobs that wait go first. All of them go after calls that someone waits for. */
  priority: z.enum(['high', 'normal', 'low']).default('normal'),
  /** Attempts that may fail before the job is dead. */
  maxAttempts: z.number().int().min(1).max(LIMITS.maxJobAttempts).default(DEFAULTS.jobAttempts),
  /** How long one attempt may take. */
  timeoutMs: wholeMs.max(LIMITS.maxTimeoutMs).default(DEFAULTS.jobTimeoutMs),
  /** The job is dead if it is not done after so long. */
  ttlMs: wholeMs.max(LIMITS.maxJobMs).default(DEFAULTS.jobTtlMs),
  /** How long its result is kept. */
  keepMs: wholeMs.max(LIMITS.maxJobMs).default(DEFAULTS.jobKeepMs),
})
export type JobOptions = z.input<typeof jobOptions>

const options = jobOptions.prefault({})

/** A call of a method, or of a model by its name: what `POST /jobs` takes, alone or many at once. */
export const jobRequest = z.union([
  z.strictObject({
    service: name,
    method: name,
    params: z.unknown(),
    version: z.string().max(LIMITS.maxNameLength).refine(isRange, 'expected a semver range such as ^1.0.0').optional(),
    group: name.optional(),
    options,
  }),
  z.strictObject({
    model: name,
    version: name.optional(),
    inputs: z.record(z.string(), z.unknown()),
    outputs: z.array(name).optional(),
    options,
  }),
], { error: 'expected {service, method, params} or {model, inputs}, and options if any' })
export type JobRequest = z.input<typeof jobRequest>

/** What a job's state is called. `dead` jobs have failed for good, and say why. */
export const JOB_STATES = ['queued', 'running', 'done', 'dead', 'canceled'] as const

/** A job as `GET /jobs/{id}` shows it. Times are the gateway's store's, in milliseconds since 1970. */
export interface JobView {
  id: string
  state: (typeof JOB_STATES)[number]
  service: string
  method: string
  priority: 'high' | 'normal' | 'low'
  /** Attempts that were begun, and those that failed. */
  attempts: number
  failures: number
  maxAttempts: number
  submittedAtMs: number
  startedAtMs?: number
  finishedAtMs?: number
  /** When it will be dead unless done; of a job that is over, when it is forgotten. */
  endsAtMs: number
  /** Of a job that is done. */
  result?: unknown
  /** Why it is dead, or why its latest attempt failed. */
  error?: { code: string; message: string }
}

/** Between a gateway and the relays that work on jobs, where they live apart: on Cloudflare. */
export const Jobs = defineService({
  name: 'shoal.Jobs',
  version: '1.0.0',
  methods: {
    /** There are jobs to take, or one whose work is to be dropped. */
    wake: unary({ input: z.object({ canceled: name.optional() }), output: z.object({}), idempotent: true }),
  },
})
