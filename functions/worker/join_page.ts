/** The page behind /join: while it is open, this tab is a worker. `?device=auto|webgpu|wasm&memory=BYTES`, `#key=…&name=…` */
import '../console/no_eval.ts'
import type { Log } from '../../shared/base/log.ts'
import { isDeviceWish } from '../../shared/engine/detect.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { AgentState } from '../../shared/worker/agent.ts'
import { KeyForm } from '../console/key_form.ts'
import { SessionKey, takeFragment } from '../console/session_key.ts'
import { stayAwake } from './join_awake.ts'
import { backgroundClock } from './join_clock.ts'
import { tabName } from './join_name.ts'
import { joinTab, type Tab } from './join_tab.ts'
import { JoinView } from './join_view.ts'

const fragment = takeFragment()
const key = new SessionKey(fragment.get('key'))
const name = tabName(fragment.get('name'), Math.random)
const clock = backgroundClock('/assets/join_timer.js')
const view = new JoinView(() => stay ? leave() : join())
const keyForm = new KeyForm(key, () => join())
const log: Log = (level, message, fields) => console.debug(`[shoal] ${level}: ${message}`, fields ?? '')

/** One stay in the pool, from joining to leaving. */
interface Stay {
  tab: Tab
  over: AbortController
}
let stay: Stay | undefined

function join(): void {
  if (stay) return
  const wish = new URLSearchParams(location.search).get('device') ?? 'auto'
  if (!isDeviceWish(wish)) {
    return view.show('cannot', `The address must end in ?device=auto, webgpu or wasm, not "${wish}".`)
  }
  if (!isSecureContext) {
    const why = 'Browsers lend their GPU to secure pages only: open this page over https, or on localhost.'
    return view.show('cannot', why)
  }
  const memory = new URLSearchParams(location.search).get('memory') ?? undefined
  if (memory !== undefined && !/^[1-9]\d{0,15}$/.test(memory)) {
    return view.show('cannot', `The address must end in &memory= and a number of bytes, not "${memory}".`)
  }
  view.show('starting', 'Loading what computes here: 16 MB the first time, then from this browser’s cache.')
  // What an earlier stay still reports is no longer shown.
  const isCurrent = () => stay === current
  const tab = joinTab({
    name,
    wish,
    memoryBytes: memory === undefined ? undefined : Number(memory),
    key: key.value,
    clock,
    log,
    onState: (state) => isCurrent() && showState(state),
    onDevice: (info) => isCurrent() && view.showDevice(info),
    onRun: ({ runMs }) => view.addRun(runMs),
    onDownload: (bytes, total) => isCurrent() && view.showDetail(downloadDetail(bytes, total)),
  })
  const current: Stay = { tab, over: new AbortController() }
  stay = current
  stayAwake(current.over.signal)
  tab.started.catch((thrown) => {
    if (!isCurrent()) return
    void end()
    view.show('cannot', RpcError.from(thrown).message)
  })
}

function showState(state: AgentState): void {
  cancelCountdown()
  if (state.phase === 'connecting') view.show('joining', `Asking ${location.host} for a place.`)
  else if (state.phase === 'serving') {
    view.showRelay(state.worker, state.relay)
    view.show('serving', SERVING)
  } else if (state.phase === 'waiting') {
    view.show('waiting', '')
    countDown(state.reason, clock.now() + state.retryInMs)
  } else {
    // The agent gives up by itself only when the gateway refuses it.
    void end()
    view.show('refused', 'The gateway takes workers that present a key.')
    keyForm.show(state.reason)
  }
}

const SERVING = `This tab computes for callers of ${location.host}. It may stay in the background.`

function downloadDetail(bytes: number, total: number): string {
  if (bytes === total) return SERVING
  const megabytes = (count: number) => (count / 1e6).toFixed(1)
  return `Fetching a model: ${megabytes(bytes)}${total > 0 ? ` of ${megabytes(total)}` : ''} MB.`
}

let cancelCountdown = () => {}

function countDown(reason: string, untilMs: number): void {
  const seconds = Math.max(0, Math.ceil((untilMs - clock.now()) / 1000))
  const sentence = reason.charAt(0).toUpperCase() + reason.slice(1)
  view.showDetail(`${sentence}. Trying again ${seconds > 0 ? `in ${seconds} s` : 'now'}.`)
  if (seconds > 0) cancelCountdown = clock.after(1000, () => countDown(reason, untilMs))
}

async function leave(): Promise<void> {
  const left = end()
  view.show('leaving', 'Finishing what is in flight.')
  await left
  if (!stay) view.show('left', 'This tab has left. Nothing is computed here any more.')
}

/** Ends the stay, if there is one: the goodbye is on its way when this returns. */
function end(): Promise<void> | undefined {
  const ending = stay
  stay = undefined
  cancelCountdown()
  ending?.over.abort()
  return ending?.tab.leave()
}

// Without a goodbye the relay would learn of it from the socket's end, and calls just sent here would be tried in vain.
addEventListener('pagehide', () => void end())
addEventListener('pageshow', ({ persisted }) => persisted && join())

view.showName(name)
join()
