import type { JobRequest } from '../../shared/contracts/jobs.ts'
import { jobs, type JobsClient } from '../../shared/jobs/jobs_client.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { byId, setHidden, setText } from './dom.ts'
import type { JobListing } from './gateway_api.ts'
import { jobRows, type ShownJob } from './job_rows.ts'
import { counted } from './words.ts'

/** Jobs of this page that stay listed. */
const MAX_OWN = 20

/** How many jobs wait, those that this page handed in, followed as they go, and the dead ones. */
export class JobPanel {
  readonly #key: () => string | undefined
  readonly #rows = jobRows(byId('jobs', HTMLElement), (job) => this.#act(job))
  readonly #error = byId('jobs-error', HTMLElement)
  /** The latest first. */
  #own: ShownJob[] = []
  #dead: readonly ShownJob[] = []

  constructor(key: () => string | undefined) {
    this.#key = key
  }

  show({ jobs: dead, queued, running }: JobListing): void {
    this.#dead = dead.map((job) => ({ ...job, what: `${job.service}/${job.method}` }))
    const waits = `${counted(queued, 'job')} ${queued === 1 ? 'waits' : 'wait'}, ${running} in work.`
    setText(byId('jobs-counts', HTMLElement), queued + running === 0 ? 'None waits.' : waits)
    this.#draw()
  }

  /**
   * Hands a job in and follows it.
   * @returns its result once it is done
   * @throws RpcError that it was refused with, or died of
   */
  async run(what: string, request: JobRequest): Promise<unknown> {
    const client = this.#client()
    const id = await client.submit(request)
    await this.#follow(client, id, what)
    return await client.wait(id)
  }

  async #follow(client: JobsClient, id: string, what: string): Promise<void> {
    for await (const { job } of client.events(id)) this.#note({ ...job, what })
  }

  #note(job: ShownJob): void {
    const at = this.#own.findIndex(({ id }) => id === job.id)
    if (at >= 0) this.#own[at] = job
    else this.#own = [job, ...this.#own].slice(0, MAX_OWN)
    this.#draw()
  }

  async #act({ id, state, what }: ShownJob): Promise<void> {
    const client = this.#client()
    try {
      const job = state === 'dead' ? await client.retry(id) : await client.cancel(id)
      setHidden(this.#error, true)
      const isFollowed = this.#own.some((own) => own.id === id) && state !== 'dead'
      this.#dead = this.#dead.filter((dead) => dead.id !== id)
      this.#note({ ...job, what })
      if (!isFollowed) this.#follow(client, id, what).catch((thrown) => this.#complain(thrown))
    } catch (thrown) {
      this.#complain(thrown)
    }
  }

  #complain(thrown: unknown): void {
    setText(this.#error, RpcError.from(thrown).message)
    setHidden(this.#error, false)
  }

  #draw(): void {
    const own = new Set(this.#own.map(({ id }) => id))
    const shown = [...this.#own, ...this.#dead.filter(({ id }) => !own.has(id))]
    this.#rows.show(shown)
    setHidden(byId('jobs-table', HTMLElement), shown.length === 0)
    setHidden(byId('no-jobs', HTMLElement), shown.length > 0)
  }

  #client(): JobsClient {
    return jobs({ gateway: location.origin, key: this.#key() })
  }
}
