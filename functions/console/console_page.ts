/** The console: who serves, what can be called, and a picture or a drawn digit to try it with. */
import './no_eval.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import { wireCopyButtons } from './copy_buttons.ts'
import { curlLine } from './curl_line.ts'
import { digitModels } from './digit_model.ts'
import { byId, setHidden, setText } from './dom.ts'
import {
  amendModel,
  listJobs,
  listModels,
  listServices,
  listTraining,
  listWorkers,
  type ModelListing,
  type PoolListing,
  readMetrics,
  type ServiceListing,
} from './gateway_api.ts'
import { JobPanel } from './job_panel.ts'
import { KeyForm } from './key_form.ts'
import { sumOf } from './metrics_text.ts'
import { modelRows } from './model_rows.ts'
import { pictureModels } from './picture_model.ts'
import { pollWhileVisible } from './poll.ts'
import { serviceRows } from './service_rows.ts'
import { SessionKey, takeFragment } from './session_key.ts'
import { Traffic } from './traffic.ts'
import { trainingCards } from './training_cards.ts'
import { TryIt } from './try_it.ts'
import { counted, inTime, shortId } from './words.ts'
import { workerRows } from './worker_rows.ts'

const REFRESH_MS = 2_000
/** Models, services, jobs and training are looked at each so many times. */
const SLOWER = 3
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

const key = new SessionKey(takeFragment().get('key'))
const keyForm = new KeyForm(key, () => {
  isLetIn = false
  refreshAll()
})
const status = byId('status', HTMLElement)
const main = byId('main', HTMLElement)
const summary = byId('summary', HTMLElement)

/** What was last known. */
let pool: PoolListing = { workers: [], queues: [], silent: [] }
let listing: ModelListing = { models: [], aliases: {} }
let services: readonly ServiceListing[] = []
/** Whether the gateway has answered with the key that the page has, or without one. */
let isLetIn = false
/** Looks taken; each third one is at everything. */
let looks = 0

const workers = workerRows(byId('workers', HTMLElement), {
  model: (sha256) => listing.models.find((model) => model.sha256 === sha256)?.name,
  address: (relay) => {
    const address = services.flatMap(({ instances }) => instances).find(({ id }) => id === relay)?.address
    return address?.kind === 'url' ? address.url : undefined
  },
})
const models = modelRows(byId('models', HTMLElement), async (manifest, options) => {
  await amendModel(manifest, options, key.value)
  refreshAll()
})
const instances = serviceRows(byId('services', HTMLElement))
const runs = trainingCards(byId('runs', HTMLElement))
const traffic = new Traffic()
const jobs = new JobPanel(() => key.value)

const tryIt = new TryIt({
  key: () => key.value,
  async findWorker(id) {
    const known = pool.workers.find((worker) => worker.id === id)
    if (known) return known
    // It joined since the last refresh.
    const fresh = await listWorkers(key.value).catch(() => undefined)
    return fresh?.workers.find((worker) => worker.id === id)
  },
  runJob: (model, request) => jobs.run(model, request),
  onUnauthenticated: (error) => keyForm.show(error.message),
})

setText(byId('join-url', HTMLElement), `${location.origin}/join`)
setText(byId('worker-line', HTMLElement), `npx shoal worker --gateway ${location.origin}`)
setHidden(byId('loopback', HTMLElement), !LOOPBACK.includes(location.hostname))
setHidden(byId('insecure', HTMLElement), isSecureContext)
wireCopyButtons()

const refresh = pollWhileVisible(REFRESH_MS, async () => {
  if (keyForm.asking) return true
  try {
    await look(looks % SLOWER === 0)
    looks++
    return true
  } catch (thrown) {
    looks = 0
    showProblem(RpcError.from(thrown))
    return false
  }
})

function refreshAll(): void {
  looks = 0
  refresh()
}

/** @param atAll at what seldom changes, too */
async function look(atAll: boolean): Promise<void> {
  const asked = key.value
  const listed = listWorkers(asked)
  // One question is enough to learn that a key is needed: the others need the same scope.
  if (!isLetIn) await listed
  isLetIn = true
  const [somePool, metrics, rest] = await Promise.all([
    listed,
    readMetrics(asked),
    atAll ? Promise.all([listModels(asked), listServices(asked), listJobs(asked), listTraining(asked)]) : undefined,
  ])
  pool = somePool
  if (rest) {
    const [someModels, someServices, someJobs, someRuns] = rest
    listing = someModels
    services = someServices
    showServices()
    jobs.show(someJobs)
    runs.show(someRuns)
    setHidden(byId('training', HTMLElement), someRuns.length === 0)
    tryIt.offer([...pictureModels(listing.models), ...digitModels(listing.models)])
    const givenKey = asked === undefined ? '' : ' --key $SHOAL_KEY'
    setText(byId('worker-line', HTMLElement), `npx shoal worker --gateway ${location.origin}${givenKey}`)
    setText(byId('curl-line', HTMLElement), curlLine(location.origin, listing.models, asked !== undefined))
  }
  traffic.show(metrics, pool.queues.reduce((sum, { calls }) => sum + calls, 0), performance.now())
  const ejected = sumOf(metrics, 'shoal_router_ejected_instances')
  setText(byId('ejected', HTMLElement), ejected > 0 ? ` ${counted(ejected, 'instance')} left out after failures.` : '')
  show()
}

function show(): void {
  keyForm.hide()
  if (main.dataset.known !== 'now') main.dataset.known = 'now'
  workers.show(pool.workers)
  models.show(listing, pool.queues)
  showTable('workers', pool.workers.length)
  showTable('models', listing.models.length)
  const serving = pool.workers.filter(({ draining }) => !draining).length
  const names = new Set(listing.models.map(({ name }) => name)).size
  setText(
    summary,
    serving === 0
      ? 'No worker is connected yet.'
      : `${counted(serving, 'worker')} ready for ${counted(names, 'model')}.`,
  )
  setText(
    byId('answer-empty', HTMLElement),
    serving === 0 ? 'No worker is connected: lend a GPU, then press Run.' : 'Press Run: a worker answers.',
  )
  const { silent } = pool
  if (silent.length === 0) setStatus('good', 'live')
  else setStatus('warn', `${counted(silent.length, 'pool')} did not answer: ${silent.map(shortId).join(', ')}`)
}

function showServices(): void {
  const { hidden, suspects } = instances(services)
  showTable('services', services.length)
  const oldestMs = Math.max(0, ...services.map(({ tableAgeMs }) => tableAgeMs))
  const parts = [
    counted(services.reduce((sum, one) => sum + one.instances.length, 0), 'instance'),
    ...(hidden > 0 ? [`${hidden} of them not shown`] : []),
    ...(suspects > 0 ? [`${suspects} suspect`] : []),
    oldestMs > 0 ? `as known ${inTime(oldestMs)} ago, for the store does not answer` : 'as the store has them now',
  ]
  setText(byId('services-age', HTMLElement), services.length === 0 ? '' : `${parts.join(', ')}.`)
}

function showTable(name: string, rows: number): void {
  setHidden(byId(`no-${name}`, HTMLElement), rows > 0)
  setHidden(byId(`${name}-table`, HTMLElement), rows === 0)
}

function showProblem(error: RpcError): void {
  if (error.code === 'unauthenticated' || error.code === 'permission_denied') {
    isLetIn = false
    keyForm.show(error.message)
    setText(summary, 'A key is needed.')
    setStatus('warn', 'not signed in')
  } else {
    // The lists stay: they are what was last known.
    setText(summary, 'The gateway is out of reach.')
    setStatus('bad', error.message)
    if (main.dataset.known) main.dataset.known = 'once'
  }
}

function setStatus(tone: string, text: string): void {
  if (status.dataset.tone !== tone) status.dataset.tone = tone
  setText(status, text)
}
