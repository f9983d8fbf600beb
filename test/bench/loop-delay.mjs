// Preloaded into the agent: when it gets SIGUSR2 it prints how long its main loop was held up at most since the last, in ms.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  process.on('SIGUSR2', () => {
    console.log(`loop-delay ${(delay.max / 1e6).toFixed(1)} ${(delay.percentile(99) / 1e6).toFixed(1)}`)
    delay.reset()
  })
}
