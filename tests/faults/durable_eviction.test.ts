import { afterAll, beforeAll, expect, it } from 'vitest'
import { type LocalWorkers, WORKER_NAME } from '../../infra/local_workers.ts'
import { eventually } from '../conformance/expectations.ts'
import { ask } from '../conformance/gateway_http.ts'
import { affineModel } from '../fixtures/models.ts'
import { type Running, startCli, temporaryFolder } from '../fixtures/process.ts'
import { startWorkerdGateway } from '../runtime/start_workerd_gateway.ts'
import { busyModel } from './busy_model.ts'
import { extent, report } from './figures.ts'
import { callAll, WEIGHTS } from './gateway_pool.ts'

// A relay in a Durable Object loses its memory at any time: when it is moved, updated, or has slept. Real workerd, real workers.

const EVICTIONS = extent({ quick: 2, thorough: 4 })
const LOAD = { calls: 40 * EVICTIONS, callers: 8 }

let gateway: LocalWorkers
let folder: Awaited<ReturnType<typeof temporaryFolder>>
const workers: Running[] = []

const names = async () =>
  (await ask(gateway.url, 'GET', '/workers')).json.workers.map(({ name }: { name: string }) => name).sort().join()
const ids = async () =>
  (await ask(gateway.url, 'GET', '/workers')).json.workers.map(({ id }: { id: string }) => id).sort().join()

/** Ends the life of the relay's object in memory, as sleep does ('hibernate') or a crash ('close'), once it has one again. */
async function evict(webSockets: 'hibernate' | 'close'): Promise<void> {
  for (;;) {
    try {
      return await gateway.miniflare.unsafeEvictDurableObject(WORKER_NAME, 'Relay', { name: 'relay-0', webSockets })
    } catch (thrown) {
      if (!/not currently running/.test(String(thrown))) throw thrown
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

beforeAll(async () => {
  ;[gateway, folder] = await Promise.all([startWorkerdGateway(), temporaryFolder()])
  await ask(gateway.url, 'PUT', '/models/busy/versions/1', { body: busyModel(WEIGHTS) })
  await ask(gateway.url, 'PUT', '/models/joined/versions/1', { body: affineModel(WEIGHTS) })
  for (const name of ['one', 'two']) {
    const args = ['worker', '--device', 'wasm', '--name', name, '--gateway', gateway.url]
    workers.push(startCli(args, { env: { HOME: folder.path } }))
  }
  await eventually(async () => await names() === 'one,two')
}, 120_000)

afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.stop()))
  await gateway?.close()
  await folder?.[Symbol.asyncDispose]()
})

/** Calls without a pause, the relay evicted again and again meanwhile. */
async function callAndEvict(webSockets: 'hibernate' | 'close') {
  let evicting = Promise.resolve()
  let evictions = 0
  const outcome = await callAll(gateway.url, { ...LOAD, comesBack: webSockets === 'close' }, (answered) => {
    if (answered % Math.floor(LOAD.calls / (EVICTIONS + 1)) === 0 && evictions < EVICTIONS) {
      evictions++
      evicting = evicting.then(() => evict(webSockets))
    }
  })
  await evicting
  return { ...outcome, evictions }
}

it('17: an evicted relay is built again from what its sockets keep', async () => {
  const before = await ids()
  const { failed, wrong, answered, evictions } = await callAndEvict('hibernate')
  expect({ failed, wrong, answered, evictions }).toEqual({
    failed: [],
    wrong: [],
    answered: LOAD.calls,
    evictions: EVICTIONS,
  })
  // The same sockets, the same workers: none had to come back.
  expect(await ids()).toBe(before)
  report('17 Durable Object evicted', 'rebuilt from attachments, lost 0', {
    'evictions during the calls': evictions,
    'calls answered': `${answered - failed.length} of ${LOAD.calls}`,
    'calls lost': failed.length,
    'workers that had to come back': 0,
  })
}, 180_000)

it('18: an evicted relay whose sockets were closed requeues what they had', async () => {
  const before = await ids()
  const { failed, wrong, answered, evictions, toldToComeBack } = await callAndEvict('close')
  expect({ failed, wrong, answered, evictions }).toEqual({
    failed: [],
    wrong: [],
    answered: LOAD.calls,
    evictions: EVICTIONS,
  })
  await eventually(async () => await names() === 'one,two')
  expect(await ids()).not.toBe(before)
  report('18 the same, sockets closed', 'requeued, lost 0', {
    'evictions during the calls': evictions,
    'calls answered': `${answered - failed.length} of ${LOAD.calls}`,
    'calls lost': failed.length,
    'answers of 503 with Retry-After, while no worker was back': toldToComeBack,
    'workers back': await names(),
  })
}, 180_000)
