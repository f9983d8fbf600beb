// Pictures of pages, by a headless Chromium that is told what to do over pipes.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const patienceMs = 60_000
/** Less than any page has: what is measured is the page, not the window. */
const firstHeight = 100

/** Starts the browser. Throws if it cannot. What it leaves behind goes when this process ends. */
export async function startChromium(command) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-boards-'))
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--no-first-run', '--remote-debugging-pipe']
  const stdio = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe']
  const child = spawn(command, [...flags, `--user-data-dir=${profile}`], { stdio })
  let said = ''
  child.stderr.on('data', (chunk) => (said = `${said}${chunk}`.slice(-2000)))
  const closed = new Promise((resolve) => child.once('close', resolve).once('error', resolve))
  const ended = closed.then((reason) => {
    const why = reason?.code === 'ENOENT' ? 'there is no such command' : (reason?.message ?? (said.trim() || `status ${reason}`))
    throw new Error(`${command} ended: ${why}`)
  })
  ended.catch(() => undefined)
  const talk = conversation(child.stdio[3], child.stdio[4])
  const call = (...parameters) => Promise.race([talk.call(...parameters), ended])
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  process.once('exit', () => {
    child.kill('SIGKILL')
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  })

  const { targetId } = await call('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true })
  const inPage = (method, parameters = {}) => call(method, parameters, sessionId)
  await inPage('Page.enable')
  await inPage('Runtime.enable')

  return {
    /** Takes the whole page. Returns its height, and what failed to be drawn in it. */
    async photograph(file, picture, { width, scale }) {
      const metrics = { width, deviceScaleFactor: scale, mobile: false }
      await inPage('Emulation.setDeviceMetricsOverride', { ...metrics, height: firstHeight })
      const { href } = pathToFileURL(file)
      const failed = talk.first('Runtime.exceptionThrown').then(({ exceptionDetails: { exception, text } }) => {
        throw new Error(`${file}: ${exception?.description ?? text}`)
      })
      failed.catch(() => undefined)
      const loaded = talk.first('Page.loadEventFired')
      await inPage('Page.navigate', { url: href })
      await Promise.race([loaded.then(() => untilDrawn(inPage, href)), failed, ended])
      const height = await evaluate(inPage, 'document.documentElement.scrollHeight')
      await inPage('Emulation.setDeviceMetricsOverride', { ...metrics, height })
      const { data } = await inPage('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
      fs.writeFileSync(picture, Buffer.from(data, 'base64'))
      return { height, failures: JSON.parse(await evaluate(inPage, 'document.documentElement.dataset.failures')) }
    },

    async stop() {
      await call('Browser.close')
      await closed
    },
  }
}

async function evaluate(inPage, expression) {
  const { result } = await inPage('Runtime.evaluate', { expression, returnByValue: true })
  return result.value
}

async function untilDrawn(inPage, href) {
  const deadline = Date.now() + patienceMs
  while (Date.now() < deadline) {
    if (await evaluate(inPage, `document.URL === '${href}' && document.documentElement.dataset.isDrawn === 'true'`)) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('the page was not drawn in time')
}

/** Messages are JSON that ends in a zero byte. */
function conversation(input, output) {
  const waiting = new Map()
  const watchers = new Map()
  let lastId = 0
  let rest = ''
  output.setEncoding('utf8')
  output.on('data', (chunk) => {
    const messages = `${rest}${chunk}`.split('\0')
    rest = messages.pop()
    for (const { id, method, params, result, error } of messages.map((message) => JSON.parse(message))) {
      watchers.get(method)?.(params)
      if (error === undefined) waiting.get(id)?.resolve(result)
      else waiting.get(id)?.reject(new Error(error.message))
      waiting.delete(id)
    }
  })
  input.on('error', () => undefined)
  return {
    call: (method, params = {}, sessionId = undefined) =>
      new Promise((resolve, reject) => {
        const id = ++lastId
        waiting.set(id, { resolve, reject })
        input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
      }),
    /** The next event of this kind. */
    first: (method) => new Promise((resolve) => watchers.set(method, resolve)),
  }
}
