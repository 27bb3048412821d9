import type { DeviceInfo } from '../../shared/engine/engine.ts'
import { byId, setHidden, setText, setTitle } from '../console/dom.ts'
import { adapterWord, deviceWord, inMs, shortId } from '../console/words.ts'

/** What the page can be doing. `phase` is also its colour. */
export type Phase = 'starting' | 'joining' | 'serving' | 'waiting' | 'leaving' | 'left' | 'refused' | 'cannot'

const WORDS: Readonly<Record<Phase, { headline: string; title: string }>> = {
  starting: { headline: 'Starting the engine', title: 'Starting' },
  joining: { headline: 'Joining', title: 'Joining' },
  serving: { headline: 'Serving', title: '● Serving' },
  waiting: { headline: 'Not connected', title: 'Waiting' },
  leaving: { headline: 'Leaving', title: 'Leaving' },
  left: { headline: 'Not serving', title: 'Left' },
  refused: { headline: 'A key is needed', title: 'Key needed' },
  cannot: { headline: 'This tab cannot serve', title: 'Cannot serve' },
}

/** Runs that the strip of bars shows. */
const STRIP_RUNS = 48

/** The join page's one state, in words, and what the tab has done so far. */
export class JoinView {
  readonly #beacon = byId('beacon', HTMLElement)
  readonly #headline = byId('headline', HTMLElement)
  readonly #detail = byId('detail', HTMLElement)
  readonly #toggle = byId('toggle', HTMLButtonElement)
  readonly #strip = byId('strip', HTMLElement)
  #runs = 0

  constructor(onToggle: () => void) {
    this.#toggle.addEventListener('click', onToggle)
  }

  show(phase: Phase, detail: string): void {
    const { headline, title } = WORDS[phase]
    this.#beacon.dataset.phase = phase
    setText(this.#headline, headline)
    setText(this.#detail, detail)
    document.title = `${title} · Shoal`
    const joined = phase === 'starting' || phase === 'joining' || phase === 'serving' || phase === 'waiting'
    setText(
      this.#toggle,
      joined ? 'Leave' : phase === 'leaving' ? 'Leaving…' : phase === 'cannot' ? 'Try again' : 'Join again',
    )
    this.#toggle.disabled = phase === 'leaving'
    this.#toggle.classList.toggle('primary', !joined)
    setHidden(this.#toggle, phase === 'refused')
    setHidden(byId('wasm-instead', HTMLElement), phase !== 'cannot')
  }

  showDetail(detail: string): void {
    setText(this.#detail, detail)
  }

  showName(name: string): void {
    setText(byId('name', HTMLElement), name)
  }

  showDevice(info: DeviceInfo): void {
    setText(byId('device', HTMLElement), deviceWord(info.device))
    setTitle(
      byId('device', HTMLElement),
      `onnxruntime-web, ${info.build} build${info.gflops ? `, ${info.gflops} GFLOP/s` : ''}`,
    )
    byId('device', HTMLElement).dataset.device = info.device
    setText(byId('adapter', HTMLElement), adapterWord(info.adapter))
    setTitle(byId('adapter', HTMLElement), info.adapter)
    setText(byId('reason', HTMLElement), info.reason)
    setHidden(byId('software', HTMLElement), !info.fallbackAdapter)
    setHidden(byId('software-note', HTMLElement), !info.fallbackAdapter)
  }

  showRelay(worker: string, relay: string): void {
    const identity = byId('identity', HTMLElement)
    setText(identity, `${shortId(worker)} on ${shortId(relay)}`)
    setTitle(identity, `${worker} on ${relay}`)
  }

  addRun(runMs: number): void {
    this.#runs++
    setText(byId('strip-note', HTMLElement), 'A run computes one call, or several joined into one.')
    setText(byId('runs', HTMLElement), this.#runs.toLocaleString('en'))
    setText(byId('last-ms', HTMLElement), inMs(runMs))
    const bar = document.createElement('i')
    bar.dataset.ms = String(runMs)
    this.#strip.append(bar)
    while (this.#strip.childElementCount > STRIP_RUNS) this.#strip.firstElementChild?.remove()
    this.#measureStrip()
  }

  /** Bars are relative to the longest shown. The median, since a first run compiles for a second. */
  #measureStrip(): void {
    const bars = [...this.#strip.querySelectorAll('i')]
    const sorted = bars.map((bar) => Number(bar.dataset.ms)).sort((a, b) => a - b)
    setText(byId('median-ms', HTMLElement), inMs(sorted[Math.floor(sorted.length / 2)] ?? 0))
    const longest = sorted.at(-1) ?? 0
    for (const bar of bars) bar.style.height = `${Math.max(6, 100 * Number(bar.dataset.ms) / longest)}%`
  }
}
