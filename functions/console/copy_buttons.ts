const SHOWN_MS = 1_500

/** Makes each `<button data-copy="id">` copy the text of the element with that id. */
export function wireCopyButtons(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('button[data-copy]')) {
    const [text, label] = [button.textContent, button.ariaLabel]
    button.addEventListener('click', async () => {
      const source = document.getElementById(button.dataset.copy ?? '')
      if (!source) return
      button.textContent = button.ariaLabel = await copy(source) ? 'Copied' : 'Press Ctrl+C'
      setTimeout(() => {
        button.textContent = text
        button.ariaLabel = label
      }, SHOWN_MS)
    })
  }
}

/** Without permission for the clipboard the text is selected, ready to be copied by hand. */
async function copy(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(source.textContent)
    return true
  } catch {
    getSelection()?.selectAllChildren(source)
    return false
  }
}
