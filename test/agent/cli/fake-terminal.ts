import type { Terminal } from '../../../agent/cli/terminal.ts'

export interface FakeTerminal extends Terminal {
  printed: string
  readonly warned: string[]
}

export function createFakeTerminal(looks: { colour?: boolean; unicode?: boolean } = {}): FakeTerminal {
  const terminal: FakeTerminal = {
    printed: '',
    warned: [],
    print: (text) => {
      terminal.printed += text
      return Promise.resolve()
    },
    warn: (line) => void terminal.warned.push(line),
    colour: looks.colour ?? false,
    unicode: looks.unicode ?? true,
  }
  return terminal
}
