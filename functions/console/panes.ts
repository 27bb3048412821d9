import type { Tensor } from '../../shared/wire/tensor.ts'

/** One way to try a model: what a person puts in, and how its answer is shown. */
export interface Panes<Model> {
  /** Gets ready for a model of its kind. */
  adopt(model: Model): void
  setHidden(hidden: boolean): void
  /** What to send; undefined while there is nothing. */
  read(model: Model): Record<string, Tensor> | undefined
  /** The answer to what was read last. */
  show(model: Model, outputs: Readonly<Record<string, Tensor>>): void
}
