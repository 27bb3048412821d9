import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../shared/base/bytes.ts'
import { runCli, temporaryFolder } from '../../fixtures/process.ts'

const MLP = ['models', 'new', 'mlp', '--inputs', '4', '--hidden', '8,8', '--outputs', '3']

describe('shoal models new', () => {
  it('writes the same file for the same seed, and another for another', async () => {
    await using folder = await temporaryFolder()
    const made = async (name: string, seed: string) => {
      const out = join(folder.path, name)
      expect(await runCli([...MLP, '--seed', seed, '--out', out])).toMatchObject({ code: 0, stderr: '' })
      return await sha256Hex(readFileSync(out))
    }
    const first = await made('a.onnx', '1')
    expect(await made('b.onnx', '1')).toBe(first)
    expect(await made('c.onnx', '2')).not.toBe(first)
  })

  it('names what is missing or wrong', async () => {
    const said = async (...args: string[]) => (await runCli(['models', 'new', ...args])).stderr
    expect(await said()).toContain('mlp, cnn or transformer is required')
    expect(await said('mlp', '--inputs', '4', '--out', '/tmp/x')).toContain('--outputs is required for mlp')
    expect(await said('cnn', '--input', '28x28', '--classes', '2', '--out', '/tmp/x')).toContain(
      'such as 1x28x28, got "28x28"',
    )
    expect(await said(...MLP.slice(2), '--dropout', '1')).toContain('--dropout must be from 0 up to 1')
    expect(await said(...MLP.slice(2))).toContain('--out FILE.onnx is required')
  })
})

describe('shoal train', () => {
  it('names what is missing or wrong before anything is started', async () => {
    await using folder = await temporaryFolder()
    const files = ['--model', 'm.onnx', '--data', 'd', '--out', join(folder.path, 'o.onnx')]
    const said = async (...args: string[]) => {
      const { code, stderr } = await runCli(['train', ...args])
      expect(code).toBe(1)
      return stderr
    }
    expect(await said()).toContain('--model, --data and --out are required')
    expect(await said(...files, '--loss', 'l1')).toContain('--loss must be one of cross-entropy, ')
    expect(await said(...files, '--optimizer', 'lion')).toContain('--optimizer must be one of sgd, momentum, ')
    expect(await said(...files, '--schedule', 'step')).toContain('--schedule must be one of constant, cosine')
    expect(await said(...files, '--wire', 'int4')).toContain('--wire must be one of fp32, fp16, int8')
    expect(await said(...files, '--lr', 'fast')).toContain('--lr: a number from 0 up is required, got "fast"')
    expect(await said(...files, '--workers', '0')).toContain('Cannot train m.onnx: an ONNX file is required')
  }, 180_000)
})
