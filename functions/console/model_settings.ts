import type { ModelOptions } from '../../shared/models/model_options.ts'
import { RpcError } from '../../shared/wire/errors.ts'
import type { ModelManifest } from '../../shared/wire/signature.ts'
import { el, setHidden, setText } from './dom.ts'

export type Amend = (manifest: ModelManifest, options: ModelOptions) => Promise<void>

/** What the switch for kept answers turns on: a minute, for answers of up to a megabyte. */
const CACHE = { ttlMs: 60_000, maxBytes: 1 << 20 }

/** Switches of a model's newest version. What they show is what the gateway last said, whether or not it took a change. */
export function modelSettings(amend: Amend): { root: HTMLElement; update(manifest: ModelManifest): void } {
  let shown: ModelManifest | undefined
  const error = el('small', { class: 'bad', role: 'alert' })
  setHidden(error, true)
  const [title, isPublic, isCached] = [
    el('small'),
    el('input', { type: 'checkbox' }),
    el('input', { type: 'checkbox' }),
  ]
  const boxes = [isPublic, isCached]
  const show = () => {
    isPublic.checked = shown?.visibility === 'public'
    isCached.checked = shown?.cache !== undefined
  }
  const change = async (options: ModelOptions) => {
    if (!shown) return
    for (const box of boxes) box.disabled = true
    try {
      await amend(shown, options)
      setHidden(error, true)
    } catch (thrown) {
      setText(error, RpcError.from(thrown).message)
      setHidden(error, false)
    } finally {
      for (const box of boxes) box.disabled = false
      show()
    }
  }
  isPublic.addEventListener('change', () => void change({ visibility: isPublic.checked ? 'public' : 'private' }))
  isCached.addEventListener('change', () => void change({ cache: isCached.checked ? CACHE : null }))
  const whose = el('span', { class: 'heard' })
  const summary = el('summary', {}, 'Settings', whose)
  // Of one name: one that opens closes the others.
  const root = el(
    'details',
    { class: 'settings', name: 'settings' },
    summary,
    el(
      'div',
      {},
      title,
      el('label', {}, isPublic, ' public: volunteers may compute it'),
      el('label', {}, isCached, ' keep its answers for a minute'),
      error,
    ),
  )
  root.addEventListener('keydown', ({ key }) => {
    if (key !== 'Escape') return
    root.open = false
    summary.focus()
  })
  return {
    root,
    update(manifest) {
      shown = manifest
      setText(whose, ` of ${manifest.name}`)
      setText(title, `Version ${manifest.version}`)
      // A change under way is not shown as undone.
      if (!isPublic.disabled) show()
    },
  }
}
