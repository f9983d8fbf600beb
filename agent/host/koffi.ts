import type koffi from 'koffi'

export type Koffi = typeof koffi
export type LoadedKoffi =
  | { readonly koffi: Koffi; readonly missing?: never }
  | { readonly missing: string; readonly koffi?: never }

let loading: Promise<LoadedKoffi> | undefined

/**
 * The door to C libraries. An optional dependency: a machine without a prebuilt binary does without what needs it.
 * Loaded at the first call, once; never throws.
 */
export function loadKoffi(): Promise<LoadedKoffi> {
  loading ??= import('koffi').then(
    (module) => ({ koffi: module.default }),
    (error) => ({ missing: `koffi is not installed: npm install koffi (${firstLine(error)})` }),
  )
  return loading
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n', 1)[0] ?? ''
}
