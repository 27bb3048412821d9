import { readFile } from 'node:fs/promises'
import type { Bytes } from '../../shared/base/bytes.ts'
import { decodePng, type Picture } from './picture.ts'

/** Under this name `shoal start` serves the demo model. */
export const DEMO_MODEL_NAME = 'cartoon'

/** The demo model's ONNX file. Node and Deno only: elsewhere these files are static assets. */
export async function readDemoModel(): Promise<Bytes> {
  return new Uint8Array(await readFile(new URL('cartoon.onnx', import.meta.url)))
}

/** The sample picture, 64×64. The model's answer to it is in expected.json. */
export async function readSamplePicture(): Promise<Picture> {
  return await decodePng(await readFile(new URL('fish.png', import.meta.url)))
}
