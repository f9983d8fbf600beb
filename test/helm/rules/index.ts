import { agentScenes } from './agent.ts'
import { conntrackScenes } from './conntrack.ts'
import { deviceScenes } from './devices.ts'
import { dnsScenes } from './dns.ts'
import { dropScenes } from './drops.ts'
import { socketScenes } from './sockets.ts'
import type { Scene } from './story.ts'
import { tcpScenes } from './tcp.ts'

/** How every alert comes and goes. */
export const scenes: readonly Scene[] = [
  ...conntrackScenes,
  ...socketScenes,
  ...tcpScenes,
  ...dropScenes,
  ...dnsScenes,
  ...deviceScenes,
  ...agentScenes,
]
