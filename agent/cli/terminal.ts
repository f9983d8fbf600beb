import type { Config } from '../config.ts'

/** Where a command writes for a person or the next program of a pipe. */
export interface Terminal {
  /** To standard output; done when it is through. */
  print(text: string): Promise<void>
  /** One line to standard error. */
  warn(line: string): void
  readonly colour: boolean
  readonly unicode: boolean
}

export function createTerminal({ terminal }: Pick<Config, 'terminal'>): Terminal {
  return {
    print: (text) => new Promise((resolve) => process.stdout.write(text, () => resolve())),
    warn: (line) => void process.stderr.write(`netvitals: ${plain(line, true)}\n`),
    colour: terminal.colour && process.stdout.isTTY === true,
    unicode: terminal.unicode,
  }
}

/** Text from outside, without what could move a cursor, change colours or turn the direction of writing. */
export function plain(text: string, unicode: boolean): string {
  const neutral = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, unicode ? '\ufffd' : '?')
  return unicode ? neutral : neutral.replaceAll(/[^\x20-\x7e]/gu, '?')
}

const colours = { green: 32, yellow: 33, red: 31, dim: 2, bold: 1 } as const

export function paint(text: string, colour: keyof typeof colours, isOn: boolean): string {
  return isOn ? `\u001b[${colours[colour]}m${text}\u001b[0m` : text
}
