import { execFileSync, spawn } from 'node:child_process'
import path from 'node:path'

const main = path.resolve(import.meta.dirname, '../../dist/agent/main.js')

/** The built agent, running as a process of its own inside a network namespace. */
export interface Agent {
  /** What it answers, asked from inside the namespace: true values, as a person sees them. */
  get(path: string): string
  /** What it printed. */
  output(): string
  readonly pid: number
  stop(): Promise<void>
}

export async function startAgent(namespace: string, flags: readonly string[] = [], port = 10477): Promise<Agent> {
  const child = spawn(
    'ip',
    [
      'netns',
      'exec',
      namespace,
      process.execPath,
      main,
      'serve',
      `--web.listen-address=127.0.0.1:${port}`,
      '--web.socket=',
      '--log.level=warn',
      ...flags,
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let output = ''
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    const look = (chunk: Buffer): void => {
      output += chunk
      if (output.includes(`http://127.0.0.1:${port}`)) resolve()
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.on('exit', (code) => reject(new Error(`the agent ended with ${code}: ${output}`)))
  })
  return {
    pid: child.pid ?? 0,
    output: () => output,
    get: (url) =>
      execFileSync(
        'ip',
        [
          'netns',
          'exec',
          namespace,
          process.execPath,
          '-e',
          `fetch(${JSON.stringify(`http://127.0.0.1:${port}${url}`)}).then((answer) => answer.text()).then((text) => process.stdout.write(text))`,
        ],
        {
          encoding: 'utf8',
          maxBuffer: 1 << 26,
        },
      ),
    async stop() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
      await exited
      clearTimeout(timer)
    },
  }
}
