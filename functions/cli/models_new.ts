import { writeFile } from 'node:fs/promises'
import process from 'node:process'
import { newCnn, newMlp, newTransformer } from '../../shared/training/new_models.ts'
import { invalid } from '../../shared/wire/errors.ts'
import { parse, wholeNumber } from './command.ts'
import { quote } from './text.ts'

export const NEW_HELP = `       shoal models new mlp --inputs 784 --hidden 256,256 --outputs 10 --out M.onnx
       shoal models new cnn --input 1x28x28 --classes 10 [--filters 16,32] --out M.onnx
       shoal models new transformer --vocabulary 256 --context 64 --width 64 --heads 4 --layers 2 --out M.onnx

  --activation A  mlp: Relu, Tanh or Gelu (default Relu)
  --dropout X     share that is dropped in training (default 0)
  --seed S        of the initial weights (default 0): the same seed gives the same file`

/** `shoal models new`: an untrained forward model with seeded weights, for `shoal train`. */
export async function newModel(args: string[]): Promise<void> {
  const { values, positionals: [kind] } = parse(args, {
    inputs: { type: 'string' },
    hidden: { type: 'string', default: '' },
    outputs: { type: 'string' },
    activation: { type: 'string', default: 'Relu' },
    input: { type: 'string' },
    classes: { type: 'string' },
    filters: { type: 'string', default: '16,32' },
    vocabulary: { type: 'string' },
    context: { type: 'string' },
    width: { type: 'string' },
    heads: { type: 'string' },
    layers: { type: 'string' },
    dropout: { type: 'string', default: '0' },
    seed: { type: 'string', default: '0' },
    out: { type: 'string' },
  })
  const size = (name: keyof typeof values) => {
    const text = values[name]
    if (text === undefined) throw invalid(`Cannot make a model: --${name} is required for ${kind}, got none`)
    return wholeNumber(name, text, 1, 1e7)
  }
  const sizes = (name: 'hidden' | 'filters' | 'input', separator: string) =>
    (values[name] ?? '').split(separator).filter(Boolean).map((text) => wholeNumber(name, text, 1, 1e6))
  const common = { seed: wholeNumber('seed', values.seed, 0, 2 ** 32 - 1), dropout: shareOf(values.dropout) }
  const make: Record<string, () => Uint8Array> = {
    mlp: () => {
      const activation = (['Relu', 'Tanh', 'Gelu'] as const).find((one) => one === values.activation)
      if (!activation) {
        throw invalid(`Cannot make a model: --activation must be Relu, Tanh or Gelu, got "${values.activation}"`)
      }
      return newMlp({
        ...common,
        inputs: size('inputs'),
        hidden: sizes('hidden', ','),
        outputs: size('outputs'),
        activation,
      })
    },
    cnn: () => {
      const [channels, height, width, ...more] = sizes('input', 'x')
      if (!channels || !height || !width || more.length > 0) {
        throw invalid(
          `Cannot make a model: --input must be channels x height x width such as 1x28x28, got "${values.input}"`,
        )
      }
      return newCnn({ ...common, channels, height, width, classes: size('classes'), filters: sizes('filters', ',') })
    },
    transformer: () => {
      const [vocabulary, context, width] = [size('vocabulary'), size('context'), size('width')]
      return newTransformer({ ...common, vocabulary, context, width, heads: size('heads'), layers: size('layers') })
    },
  }
  const known = kind !== undefined && Object.hasOwn(make, kind) ? make[kind] : undefined
  if (!known) {
    throw invalid(
      `Cannot make a model: mlp, cnn or transformer is required, got ${kind === undefined ? 'none' : quote(kind)}`,
    )
  }
  if (!values.out) throw invalid('Cannot make a model: --out FILE.onnx is required, got none')
  const bytes = known()
  await writeFile(values.out, bytes)
  process.stdout.write(
    `${values.out}: ${kind}, ${bytes.byteLength} bytes (train it: shoal train --model ${values.out} …)\n`,
  )
}

function shareOf(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value < 1) return value
  throw invalid(`Cannot make a model: --dropout must be from 0 up to 1, got "${text}"`)
}
