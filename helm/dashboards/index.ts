import type { Board } from './board.ts'
import { dropsBoard } from './drops.ts'

/** Every dashboard. */
export const boards: readonly Board[] = [dropsBoard]
