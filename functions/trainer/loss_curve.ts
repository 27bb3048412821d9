import type { Evaluation } from '../../shared/training/checkpoint.ts'

/** The run as a table: a line per step, with the validation where there was one. */
export function curveCsv(losses: readonly number[], evaluations: readonly Evaluation[]): string {
  const byStep = new Map(evaluations.map((evaluation) => [evaluation.step, evaluation]))
  const lines = losses.map((loss, i) => {
    const found = byStep.get(i + 1)
    return `${i + 1},${loss},${found?.loss ?? ''},${found?.accuracy ?? ''}`
  })
  return `step,loss,validation_loss,validation_accuracy\n${lines.join('\n')}\n`
}

const [WIDTH, HEIGHT, MARGIN] = [720, 400, 48]
/** Points drawn at most: more would not be seen apart. */
const MAX_POINTS = 1000

/** The same as a picture. */
export function curveSvg(losses: readonly number[], evaluations: readonly Evaluation[], title: string): string {
  const means = thinned(losses, MAX_POINTS)
  const validation = evaluations.map(({ step, loss }): [number, number] => [step, loss])
  const top = Math.max(1e-9, ...[...means, ...validation].map(([, loss]) => loss).filter(Number.isFinite))
  const right = Math.max(1, losses.length)
  const x = (step: number) => MARGIN + (WIDTH - 2 * MARGIN) * (step / right)
  const y = (loss: number) => HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (loss / top)
  const line = (points: readonly [number, number][]) =>
    points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ')
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const [ty, tx] = [y(top * part), x(right * part)]
    return `<path d="M${MARGIN} ${ty}H${WIDTH - MARGIN}" stroke="#ddd"/>` +
      `<text x="${MARGIN - 6}" y="${ty + 4}" text-anchor="end">${(top * part).toPrecision(2)}</text>` +
      `<text x="${tx}" y="${HEIGHT - MARGIN + 18}" text-anchor="middle">${Math.round(right * part)}</text>`
  })
  const dots = validation.map(([step, loss]) => `<circle cx="${x(step)}" cy="${y(loss)}" r="3" fill="#d9480f"/>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
<text x="${WIDTH / 2}" y="24" text-anchor="middle" font-size="15">${escapeXml(title)}</text>
${ticks.join('\n')}
<polyline points="${line(means)}" fill="none" stroke="#1971c2" stroke-width="1.5"/>
<polyline points="${line(validation)}" fill="none" stroke="#d9480f" stroke-width="1.5"/>
${dots.join('\n')}
<text x="${
    WIDTH - MARGIN
  }" y="${MARGIN}" text-anchor="end"><tspan fill="#1971c2">training</tspan> <tspan fill="#d9480f">validation</tspan> loss by step</text>
</svg>
`
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

/** Means of equal stretches of a run, at most `maxPoints`, each at the step that it ends with. */
export function thinned(losses: readonly number[], maxPoints: number): [number, number][] {
  const every = Math.max(1, Math.ceil(losses.length / maxPoints))
  const means: [number, number][] = []
  for (let i = 0; i < losses.length; i += every) {
    const part = losses.slice(i, i + every)
    means.push([i + part.length, part.reduce((sum, loss) => sum + loss, 0) / part.length])
  }
  return means
}
