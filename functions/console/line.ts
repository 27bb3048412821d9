const SVG = 'http://www.w3.org/2000/svg'
/** The box's units: lines stretch with their element, and keep their width. */
const UNITS = 1000

/** A line in an element of the page, which style sheets size and colour. */
export function lineOf(parent: HTMLElement, name = 'line'): SVGPolylineElement {
  const picture = parent.querySelector('svg') ?? document.createElementNS(SVG, 'svg')
  picture.setAttribute('viewBox', `0 0 ${UNITS} ${UNITS}`)
  picture.setAttribute('preserveAspectRatio', 'none')
  picture.setAttribute('aria-hidden', 'true')
  const line = document.createElementNS(SVG, 'polyline')
  line.setAttribute('class', name)
  picture.append(line)
  parent.append(picture)
  return line
}

/** @param points from the lower left corner at 0, 0 to the upper right one at 1, 1 */
export function setLine(line: SVGPolylineElement, points: readonly (readonly [number, number])[]): void {
  const text = points.map(([x, y]) => `${(UNITS * x).toFixed(0)},${(UNITS * (1 - y)).toFixed(0)}`).join(' ')
  if (line.getAttribute('points') !== text) line.setAttribute('points', text)
}
