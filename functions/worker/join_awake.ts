/**
 * Keeps the device from sleeping and the browser from freezing this tab, as far as it lets us, until the signal aborts:
 * a tab that lends its GPU has promised to answer.
 */
export function stayAwake(signal: AbortSignal): void {
  void keepScreenOn(signal)
  // Nobody else wants this lock: browsers do not freeze a tab that holds one.
  navigator.locks?.request(`shoal-tab-${crypto.randomUUID()}`, { signal }, () => aborted(signal)).catch(() => {})
}

async function keepScreenOn(signal: AbortSignal): Promise<void> {
  // The browser takes the lock back whenever the tab is hidden, and refuses it on low battery.
  const acquire = async () => {
    if (document.visibilityState !== 'visible' || signal.aborted) return
    const lock = await navigator.wakeLock?.request('screen').catch(() => undefined)
    if (signal.aborted) await lock?.release()
    else signal.addEventListener('abort', () => void lock?.release(), { once: true })
  }
  document.addEventListener('visibilitychange', acquire, { signal })
  await acquire()
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
