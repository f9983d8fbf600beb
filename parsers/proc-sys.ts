import { type Line, parseError, readColumns, readDecimal, splitLines } from './text.ts'

/** A sysctl of whole numbers, at least one: `tcp_mem` has three, `ip_local_port_range` two (kernel/sysctl.c, proc_doulongvec_minmax and its like). */
export function parseNumbers(text: string, where: string): [number, ...number[]] {
  const line = onlyLine(text, where)
  const [first, ...others] = readColumns(line, 0, readDecimal)
  if (first === undefined) throw parseError(line, 0, 'a decimal number')
  return [first, ...others]
}

/** Ports `from` to `to`, both included. */
export interface PortRange {
  readonly from: number
  readonly to: number
}

/** ip_local_reserved_ports: `8080,9148-9150`, or nothing (kernel/sysctl.c, proc_do_large_bitmap). */
export function parsePortRanges(text: string, where: string): PortRange[] {
  const line = onlyLine(text, where)
  if (line.text === '') return []
  let at = 0
  return line.text.split(',').map((part) => {
    const start = at
    const end = start + part.length
    at = end + 1
    const dash = part.indexOf('-')
    const from = readPort(line, start, dash === -1 ? end : start + dash)
    const to = dash === -1 ? from : readPort(line, start + dash + 1, end)
    if (to < from) throw parseError(line, start + dash + 1, `a port from ${from} on`, end)
    return { from, to }
  })
}

function readPort(line: Line, from: number, to: number): number {
  const port = readDecimal(line, from, to)
  if (port > 65535) throw parseError(line, from, 'a port', to)
  return port
}

function onlyLine(text: string, where: string): Line {
  const [line, second] = splitLines(text, where)
  if (second !== undefined) throw parseError(second, 0, 'the end of the file')
  return line
}
