/** Text that is HTML already. */
export interface Html {
  readonly markup: string
}
type Part = Html | string | number | undefined | false | readonly Part[]

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function toMarkup(part: Part): string {
  if (part === undefined || part === false) return ''
  if (typeof part === 'string') return part.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '')
  if (typeof part === 'number') return String(part)
  return 'markup' in part ? part.markup : part.map(toMarkup).join('')
}

/** What is put in is text, whatever it looks like, unless it was made by `html` too. Attributes need their quotes. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return { markup: strings.map((text, i) => text + toMarkup(parts[i])).join('') }
}
