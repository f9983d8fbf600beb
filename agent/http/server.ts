import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ListenAddress } from '../config-values.ts'
import { limits } from '../limits.ts'
import { createRoutes, type HttpParts } from './routes.ts'
import type { Security } from './security.ts'
import { ListenError, listenOnSocket } from './socket.ts'

export interface HttpServer {
  /** Answers there from now on; returns the URL with the port that was taken. @throws ListenError */
  listen(address: ListenAddress): Promise<string>
  /** Answers on a Unix socket too, without TLS and authentication. @throws ListenError */
  listenOnSocket(file: string): Promise<void>
  /** Single events that were told to nobody, because their reader was slow. */
  lostEvents(): number
  /** Takes no more connections, and waits a while for the answers under way. */
  stop(): Promise<void>
}

export function createHttpServer(parts: HttpParts, security: Security): HttpServer {
  const outer = createRoutes(parts, security.createServer, security)
  const local = createRoutes(parts, http.createServer)
  const both = [outer, local]
  const answers = both.map(({ app }) => watchAnswers(app.server))

  return {
    async listen(address) {
      await outer.app.ready()
      await listen(outer.app.server, address)
      const { address: host, family, port } = outer.app.server.address() as AddressInfo
      const shown = host === '::' || host === '0.0.0.0' ? 'localhost' : family === 'IPv6' ? `[${host}]` : host
      return `${security.isTls ? 'https' : 'http'}://${shown}:${port}/`
    },
    async listenOnSocket(file) {
      await local.app.ready()
      await listenOnSocket(local.app.server, file)
    },
    lostEvents: () => outer.lostEvents() + local.lostEvents(),
    async stop() {
      for (const { stop, app } of both) {
        stop()
        app.server.close()
      }
      const answered = Promise.all(answers.map((wait) => wait()))
      await Promise.race([answered, delay(limits.stopMs, undefined, { ref: false })])
      for (const { app } of both) app.server.closeAllConnections()
      await Promise.all(both.map(({ app }) => app.close()))
    },
  }
}

/** To wait until no answer is under way. The server itself would wait for connections too that never asked anything. */
function watchAnswers(server: http.Server): () => Promise<void> {
  let underWay = 0
  let wake: () => void = () => undefined
  server.on('request', (_request, response) => {
    underWay++
    response.once('close', () => {
      underWay--
      if (underWay === 0) wake()
    })
  })
  return () =>
    new Promise((resolve) => {
      wake = resolve
      if (underWay === 0) resolve()
    })
}

function listen(server: http.Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new ListenError(`${host ?? ''}:${port}: ${explain(error)}`)))
    server.listen({ port, ...(host !== undefined && { host }) }, resolve)
  })
}

const change = 'choose another with --web.listen-address'

function explain(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `the port is taken, perhaps by another agent; stop that, or ${change}`
    case 'EACCES':
      return `no permission for this port (below 1024 it takes CAP_NET_BIND_SERVICE); ${change}`
    case 'EADDRNOTAVAIL':
      return `this machine has no such address; ${change}`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name of the host leads to no address; ${change}`
    default:
      return `cannot listen: ${error.message}; ${change}`
  }
}
