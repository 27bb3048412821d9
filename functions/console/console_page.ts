/** The console: who serves, what can be called, and a picture or a drawn digit to try it with. */
import './no_eval.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import { wireCopyButtons } from './copy_buttons.ts'
import { curlLine } from './curl_line.ts'
import { digitModels } from './digit_model.ts'
import { byId, setHidden, setText } from './dom.ts'
import { type ListedWorker, listModels, listWorkers } from './gateway_api.ts'
import { KeyForm } from './key_form.ts'
import { modelRows } from './model_rows.ts'
import { pictureModels } from './picture_model.ts'
import { pollWhileVisible } from './poll.ts'
import { SessionKey, takeFragment } from './session_key.ts'
import { TryIt } from './try_it.ts'
import { counted } from './words.ts'
import { workerRows } from './worker_rows.ts'

const REFRESH_MS = 2_000
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

const key = new SessionKey(takeFragment().get('key'))
const keyForm = new KeyForm(key, () => refresh())
const workers = workerRows(byId('workers', HTMLElement))
const models = modelRows(byId('models', HTMLElement))
const status = byId('status', HTMLElement)
const summary = byId('summary', HTMLElement)
let listed: readonly ListedWorker[] = []

const tryIt = new TryIt({
  key: () => key.value,
  async findWorker(id) {
    const known = listed.find((worker) => worker.id === id)
    if (known) return known
    // It joined since the last refresh.
    const fresh = await listWorkers(key.value).catch(() => [])
    return fresh.find((worker) => worker.id === id)
  },
  onUnauthenticated: (error) => keyForm.show(error.message),
})

setText(byId('join-url', HTMLElement), `${location.origin}/join`)
setText(byId('worker-line', HTMLElement), `npx shoal worker --gateway ${location.origin}`)
setHidden(byId('loopback', HTMLElement), !LOOPBACK.includes(location.hostname))
wireCopyButtons()
const refresh = pollWhileVisible(REFRESH_MS, async () => {
  if (keyForm.asking) return
  try {
    const [someWorkers, someModels] = await Promise.all([listWorkers(key.value), listModels(key.value)])
    listed = someWorkers
    show(someModels)
  } catch (thrown) {
    showProblem(RpcError.from(thrown))
  }
})

function show(someModels: readonly ModelManifest[]): void {
  keyForm.hide()
  workers.show(listed)
  models.show(someModels)
  setHidden(byId('no-workers', HTMLElement), listed.length > 0)
  setHidden(byId('workers-table', HTMLElement), listed.length === 0)
  setHidden(byId('no-models', HTMLElement), someModels.length > 0)
  setHidden(byId('models-table', HTMLElement), someModels.length === 0)
  tryIt.offer([...pictureModels(someModels), ...digitModels(someModels)])
  setText(byId('curl-line', HTMLElement), curlLine(location.origin, someModels, key.value !== undefined))
  const serving = listed.filter(({ draining }) => !draining).length
  const names = new Set(someModels.map(({ name }) => name)).size
  setText(
    summary,
    serving === 0
      ? 'No worker is connected yet.'
      : `${counted(serving, 'worker')} ready for ${counted(names, 'model')}.`,
  )
  setStatus('good', 'live')
}

function showProblem(error: RpcError): void {
  if (error.code === 'unauthenticated' || error.code === 'permission_denied') {
    keyForm.show(error.message)
    setText(summary, 'A key is needed.')
    setStatus('warn', 'not signed in')
  } else {
    // The lists stay: they are what was last known.
    setText(summary, 'The gateway is out of reach.')
    setStatus('bad', error.message)
  }
}

function setStatus(tone: string, text: string): void {
  if (status.dataset.tone !== tone) status.dataset.tone = tone
  setText(status, text)
}
