import { join } from 'node:path'
import process from 'node:process'
import { sha256Hex } from '../../shared/base/bytes.ts'
import type { Log } from '../../shared/base/log.ts'
import type { DeviceWish } from '../../shared/engine/detect.ts'
import type { PutBlob } from '../../shared/training/dataset.ts'
import type { GatewayAccess } from '../cli/command.ts'
import { request } from '../cli/request.ts'
import type { LocalRelay } from '../gateway/host.ts'
import { startNodeGateway } from '../gateway/node.ts'
import { joinWithChromium, launchChromium } from '../worker/chromium_worker.ts'
import { findChromium } from '../worker/find_chromium.ts'
import { startHostWorker } from '../worker/host_worker.ts'

export interface TrainerGateway {
  access: GatewayAccess
  /** Its relay, in this process. */
  local: LocalRelay
  close(): Promise<void>
}

/** A gateway of the run's own on loopback, for where none is named: tabs and other machines' tunnels may join it too. */
export async function openOwnGateway(folder: string, port: number, log: Log): Promise<TrainerGateway> {
  const dataDir = join(folder, 'gateway')
  const gateway = await startNodeGateway({ host: '127.0.0.1', port, dataDir, env: process.env, log })
  const access = { url: gateway.url, key: undefined, headers: {} }
  return { access, local: gateway.local, close: () => gateway.close() }
}

/** Starts workers of this process, which join the relay of its own gateway, if there is one. @returns stops them */
export async function startWorkers(
  count: number,
  access: GatewayAccess,
  cacheDir: string,
  log: Log,
  local?: LocalRelay,
): Promise<() => Promise<void>> {
  const workers = await Promise.all(Array.from({ length: count }, async (_, i) => {
    const options = { gateway: access.url, headers: access.headers, wish: 'wasm', cacheDir, log } as const
    return await startHostWorker({ ...options, enrol: local?.enrol, name: `train-${process.pid}-${i + 1}` })
  }))
  return async () => void await Promise.all(workers.map((worker) => worker.stop()))
}

/** Opens the gateway's join page in tabs of a headless Chromium. @returns closes them */
export async function openTabs(
  count: number,
  { url, key }: GatewayAccess,
  wish: DeviceWish,
  log: Log,
): Promise<() => Promise<void>> {
  if (count === 0) return async () => {}
  const browser = await launchChromium(findChromium(), url)
  try {
    for (let i = 1; i <= count; i++) {
      await joinWithChromium(browser, { gateway: url, key, wish, name: `tab-${process.pid}-${i}`, log })
    }
  } catch (thrown) {
    await browser.close()
    throw thrown
  }
  return () => browser.close()
}

/** Puts blobs where the gateway's workers fetch them. */
export function putBlobTo(access: GatewayAccess): PutBlob {
  return async (bytes) => {
    const sha256 = await sha256Hex(bytes)
    await request(access, 'PUT', `/blobs/${sha256}`, { body: bytes as Uint8Array<ArrayBuffer> })
    return sha256
  }
}
