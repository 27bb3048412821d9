import { startChild } from '../bench/child.ts'
import type { Tasks } from './load_process.ts'

/** Calls that come from a process of their own. One task at a time. */
export interface Caller extends AsyncDisposable {
  run<Task extends keyof Tasks>(task: Task, args: Parameters<Tasks[Task]>[0]): ReturnType<Tasks[Task]>
}

export async function startCaller(url: string): Promise<Caller> {
  const child = await startChild('../faults/load_process.ts', [url])
  return {
    run: ((task, args) => child.ask<{ result: unknown }>({ task, args }).then(({ result }) => result)) as Caller['run'],
    [Symbol.asyncDispose]: () => child.stop(),
  }
}

/** The value that a part of them stays below. */
export function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(part * values.length))] ?? NaN
}
