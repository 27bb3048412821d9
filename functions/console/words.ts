import type { Device } from '../../shared/engine/engine.ts'
import type { TensorSpec } from '../../shared/wire/signature.ts'

/** Values as people read them. */

const DEVICES: Readonly<Record<Device, string>> = { webgpu: 'WebGPU', wasm: 'WASM', cpu: 'CPU' }

export function deviceWord(device: string): string {
  return Object.hasOwn(DEVICES, device) ? DEVICES[device as Device] : device
}

/** Milliseconds with three significant digits or so, without the unit. */
export function inMs(ms: number): string {
  return ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)
}

export function inBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const [size, unit] = bytes < 1024 ** 2
    ? [bytes / 1024, 'KiB']
    : bytes < 1024 ** 3
    ? [bytes / 1024 ** 2, 'MiB']
    : [bytes / 1024 ** 3, 'GiB']
  return `${size.toFixed(size < 10 ? 1 : 0)} ${unit}`
}

/** How long something took, with its unit. */
export function inSpan(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : inTime(ms)
}

export function inTime(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
}

/** "1 worker", "2 workers" */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** A tensor's type as people write it: `float32 [N, 3, H, W]`. Free dimensions without a name are "?". */
export function typeOf({ dtype, shape, axes }: TensorSpec): string {
  return `${dtype} [${shape.map((size, i) => size === -1 ? axes[i] || '?' : size).join(', ')}]`
}

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bEdg\/(\d+)/, 'Edge'],
  [/\bOPR\/(\d+)/, 'Opera'],
  [/\bFirefox\/(\d+)/, 'Firefox'],
  [/\bHeadlessChrome\/(\d+)/, 'Chrome (headless)'],
  [/\bChrome\/(\d+)/, 'Chrome'],
  [/\bVersion\/(\d+).*\bSafari\//, 'Safari'],
]
const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/Android/, 'Android'],
  [/iPhone|iPad/, 'iOS'],
  [/Mac OS X/, 'macOS'],
  [/Windows/, 'Windows'],
  [/CrOS/, 'ChromeOS'],
  [/Linux/, 'Linux'],
]

/** What a worker says of its hardware. A browser without a GPU gives its user agent, which is cut to its point. */
export function adapterWord(adapter: string): string {
  if (!adapter.startsWith('Mozilla/')) return adapter
  const browser = BROWSERS.find(([pattern]) => pattern.test(adapter))
  const system = SYSTEMS.find(([pattern]) => pattern.test(adapter))?.[1]
  if (!browser) return system ?? adapter
  const [pattern, name] = browser
  return [`${name} ${pattern.exec(adapter)?.[1]}`, system].filter(Boolean).join(' on ')
}

/** An id's prefix and first digits tell workers apart at a glance. */
export function shortId(id: string): string {
  return id.replace(/_([0-9a-f]{6})[0-9a-f]{20,}$/, '_$1')
}
