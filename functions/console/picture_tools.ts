import { RpcError } from '../../shared/wire/errors.ts'
import { byId, setHidden } from './dom.ts'
import type { PictureInput } from './picture_input.ts'

/** 64×64, the one whose answer is known (functions/demo/expected.json). */
const SAMPLE = '/assets/fish.png'

interface Listener {
  /** The visitor chose a picture. */
  onPicture(): void
  onProblem(error: RpcError): void
}

/** The ways to get a picture in: the sample, a file, dropping and pasting one, a blank sheet and a pen. Shows the sample. */
export function wirePictureTools(input: PictureInput, { onPicture, onProblem }: Listener): void {
  const load = async (file: Blob | undefined, name: string) => {
    if (!file) return
    try {
      await input.load(file, name)
      onPicture()
    } catch (thrown) {
      onProblem(RpcError.from(thrown))
    }
  }

  byId('use-sample', HTMLButtonElement).addEventListener('click', async () => load(await fetchSample(), 'the sample'))

  const file = byId('picture-file', HTMLInputElement)
  byId('choose-picture', HTMLButtonElement).addEventListener('click', () => file.click())
  file.addEventListener('change', async () => {
    const [chosen] = file.files ?? []
    await load(chosen, chosen?.name ?? '')
    // So that choosing the same file again counts as a change.
    file.value = ''
  })

  const frame = byId('drop', HTMLElement)
  frame.addEventListener('dragover', (event) => {
    event.preventDefault()
    frame.classList.add('over')
  })
  frame.addEventListener('dragleave', () => frame.classList.remove('over'))
  frame.addEventListener('drop', (event) => {
    event.preventDefault()
    frame.classList.remove('over')
    const [dropped] = event.dataTransfer?.files ?? []
    void load(dropped, dropped?.name ?? '')
  })
  document.addEventListener('paste', (event) => {
    const pasted = [...event.clipboardData?.files ?? []].find(({ type }) => type.startsWith('image/'))
    void load(pasted, 'the pasted picture')
  })

  wirePen(input, onPicture)
  void fetchSample().then((sample) => sample && input.load(sample, 'the sample')).catch(() => input.clear())
}

function wirePen(input: PictureInput, onPicture: () => void): void {
  const draw = byId('draw', HTMLButtonElement)
  const color = byId('pen', HTMLInputElement)
  const apply = () => input.pen = draw.ariaPressed === 'true' ? color.value : undefined
  draw.addEventListener('click', () => {
    draw.ariaPressed = draw.ariaPressed === 'true' ? 'false' : 'true'
    setHidden(byId('pen-tools', HTMLElement), draw.ariaPressed !== 'true')
    apply()
  })
  color.addEventListener('input', apply)
  byId('clear', HTMLButtonElement).addEventListener('click', () => {
    input.clear()
    onPicture()
  })
}

async function fetchSample(): Promise<Blob | undefined> {
  const response = await fetch(SAMPLE).catch(() => undefined)
  return response?.ok ? await response.blob() : undefined
}
