import { readFile } from 'node:fs/promises'
import type { Bytes } from '../../shared/base/bytes.ts'
import { decodePng, type Picture } from './picture.ts'

/** Under this name `shoal start` serves the demo model that draws. */
export const DEMO_MODEL_NAME = 'cartoon'
/** Under this name `shoal start` serves the demo model that Shoal trained. */
export const DIGITS_MODEL_NAME = 'digits'
/** Of the ten classes. */
export const DIGITS_LABELS = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'] as const

/** The demo model's ONNX file. Node and Deno only: elsewhere these files are static assets. */
export async function readDemoModel(): Promise<Bytes> {
  return new Uint8Array(await readFile(new URL('cartoon.onnx', import.meta.url)))
}

/** The digits classifier's ONNX file (README.md says how it was trained). Node and Deno only. */
export async function readDigitsModel(): Promise<Bytes> {
  return new Uint8Array(await readFile(new URL('digits.onnx', import.meta.url)))
}

/** The sample picture, 64×64. The model's answer to it is in expected.json. */
export async function readSamplePicture(): Promise<Picture> {
  return await decodePng(await readFile(new URL('fish.png', import.meta.url)))
}
