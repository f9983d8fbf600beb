import type { Builder as PanelBuilderOf } from '@grafana/grafana-foundation-sdk/cog'
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TableSortByFieldStateBuilder,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  FieldColorModeId,
  type Panel as GrafanaPanel,
  MappingType,
  QueryVariableBuilder,
  RowBuilder,
  SpecialValueMatch,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableHide,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap'
import * as nodegraph from '@grafana/grafana-foundation-sdk/nodegraph'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import * as stat from '@grafana/grafana-foundation-sdk/stat'
import * as table from '@grafana/grafana-foundation-sdk/table'
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries'
import type { Board, Graph, HeatMap, NodeGraph, Panel, Row, Stat, Table, Unit } from './board.ts'
import { type VariableName, variables } from './variables.ts'

// biome-ignore lint/suspicious/noTemplateCurlyInString: the variable is Grafana's
const datasource = { type: 'prometheus', uid: '${datasource}' }
const tag = 'netvitals'
const refreshEvery = '30s'
const shownByDefault = 'now-1h'
const columns = 24
/** What `empty` says of a whole table says nothing of one of its cells. */
const emptyCell = '–'
/** Columns of a heat map; with one for each pixel the gaps between them would be half of it. */
const heatMapColumns = 120
/** Of a table's column, in pixels; Grafana's own 150 push half of a wide table out of sight. */
const columnWidthMin = 80

/** Grafana's own JSON, in the form that its sidecar, its provisioning and its import read. */
export function toGrafana(board: Board): Dashboard {
  const builder = new DashboardBuilder(`Netvitals / ${board.title}`)
    .uid(board.uid)
    .description(board.description)
    .tags([tag])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: shownByDefault, to: 'now' })
    .refresh(refreshEvery)
    .timezone('browser')
    .link(
      new DashboardLinkBuilder('Netvitals')
        .type(DashboardLinkType.Dashboards)
        .tags([tag])
        .asDropdown(true)
        .includeVars(true)
        .keepTime(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
  for (const name of board.variables) builder.withVariable(toVariable(name, board))
  for (const row of board.rows) addRow(builder, row)
  const dashboard = builder.build()
  const links = (dashboard.links ?? []).map(({ placement, ...link }) => link)
  return { ...dashboard, links, panels: number(dashboard.panels ?? []) } as Dashboard
}

function toVariable(name: VariableName, { variables: shown, isOfOneNode = false }: Board): QueryVariableBuilder {
  const { label, of } = variables[name]
  const metric = name === 'pod' && shown.includes('workload') ? 'netvitals_pod_info' : variables[name].metric
  const narrowing: readonly string[] = name === 'pod' && shown.includes('workload') ? [...of, 'workload_type', 'workload'] : of
  const matchers = narrowing.filter((one) => shown.includes(one as VariableName)).map((one) => `${one}=~"$${one}"`)
  const query = `label_values(${metric}${matchers.length === 0 ? '' : `{${matchers.join(', ')}}`}, ${name})`
  // What has no such label, or an empty one, is among all of them; a job each series has.
  const all = name === 'job' ? '.+' : '.*'
  const isOne = name === 'node' && isOfOneNode
  const variable = new QueryVariableBuilder(name)
    .label(label)
    .datasource(datasource)
    .query({ query, refId: name })
    .definition(query)
    .multi(!isOne)
    .includeAll(!isOne)
  if (!isOne) variable.allValue(all).current({ selected: true, text: ['All'], value: ['$__all'] })
  return variable
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .hide(name === 'cluster' ? VariableHide.HideVariable : VariableHide.DontHide)
}

function addRow(builder: DashboardBuilder, { title, panels, isCollapsed = false }: Row): void {
  const row = new RowBuilder(title).collapsed(isCollapsed)
  if (!isCollapsed) {
    builder.withRow(row)
    for (const panel of panels) builder.withPanel(toPanel(panel))
    return
  }
  for (const panel of panels) row.withPanel(toPanel(panel))
  builder.withRow(row)
}

type PanelBuilder = PanelBuilderOf<GrafanaPanel>

function toPanel(panel: Panel): PanelBuilder {
  switch (panel.kind) {
    case 'graph':
      return toGraph(panel)
    case 'stat':
      return toStat(panel)
    case 'table':
      return toTable(panel)
    case 'heatmap':
      return toHeatMap(panel)
    case 'nodegraph':
      return toNodeGraph(panel)
  }
}

type AnyPanelBuilder =
  | timeseries.PanelBuilder
  | stat.PanelBuilder
  | table.PanelBuilder
  | heatmap.PanelBuilder
  | nodegraph.PanelBuilder

function describe<B extends AnyPanelBuilder>(
  builder: B,
  { title, description, empty, width, height }: Pick<Panel, 'title' | 'description' | 'empty' | 'width' | 'height'>,
  size: { readonly width: number; readonly height: number },
): B {
  builder
    .title(title)
    .description(description)
    .datasource(datasource)
    .noValue(empty)
    .span(width ?? size.width)
    .height(height ?? size.height)
  return builder
}

const refIdOf = (index: number): string => String.fromCharCode('A'.charCodeAt(0) + index)
const target = (text: string, index = 0): DataqueryBuilder =>
  new DataqueryBuilder().datasource(datasource).refId(refIdOf(index)).expr(text)

function thresholds({ warning, fault, isLowBad = false }: NonNullable<Graph['levels']>): ThresholdsConfigBuilder {
  const bounds = [
    { color: 'orange', value: warning },
    { color: 'red', value: fault },
  ].filter(({ value }) => value !== undefined)
  const colours = ['green', ...bounds.map(({ color }) => color)]
  const values = bounds.map(({ value = null }) => value)
  // Each colour is from its value on up to the next; the first has none.
  const starts = isLowBad ? [...values, null] : [null, ...values]
  const steps = colours.map((color, index) => ({ color, value: starts[index] ?? null }))
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(isLowBad ? steps.reverse() : steps)
}

function toGraph(panel: Graph): PanelBuilder {
  const { targets, unit, levels, isStacked = false, max, colours = {} } = panel
  const builder = describe(new timeseries.PanelBuilder(), panel, { width: columns / 2, height: 8 })
    .unit(unit)
    .min(0)
    .lineWidth(1)
    .fillOpacity(isStacked ? 30 : 5)
    .showPoints(VisibilityMode.Auto)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.Table)
        .placement(LegendPlacement.Bottom)
        .calcs(['lastNotNull', 'max'])
        .sortBy('Max')
        .sortDesc(true),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
  if (max !== undefined) builder.max(max)
  if (isStacked) builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal))
  for (const [name, fixedColor] of Object.entries(colours))
    builder.overrideByName(name, [{ id: 'color', value: { mode: FieldColorModeId.Fixed, fixedColor } }])
  if (levels !== undefined)
    builder
      .thresholds(thresholds(levels))
      .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed))
  targets.forEach(({ query, legend }, index) => builder.withTarget(target(query.text, index).range().legendFormat(legend)))
  return builder
}

function toStat(panel: Stat): PanelBuilder {
  const { targets, unit, levels } = panel
  const builder = describe(new stat.PanelBuilder(), panel, { width: 4, height: 4 })
    .unit(unit)
    .graphMode(BigValueGraphMode.Area)
    .colorMode(levels === undefined ? BigValueColorMode.None : BigValueColorMode.Value)
    .textMode(targets.length > 1 ? BigValueTextMode.ValueAndName : BigValueTextMode.Auto)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    // Without any, Grafana takes 80 for a fault and colours the line by it.
    .thresholds(thresholds(levels ?? {}))
  // Nothing is neither good nor bad; without this Grafana gives it the colour of the lowest values.
  const nothing = { text: panel.empty, color: 'text' }
  if (levels !== undefined)
    builder.mappings([{ type: MappingType.SpecialValue, options: { match: SpecialValueMatch.NullAndNan, result: nothing } }])
  targets.forEach(({ query, legend }, index) => builder.withTarget(target(query.text, index).range().legendFormat(legend)))
  return builder
}

function toTable(panel: Table): PanelBuilder {
  const { labels, columns: shown, opens, sortBy } = panel
  const builder = describe(new table.PanelBuilder(), panel, { width: columns, height: 9 })
    .filterable(true)
    .minWidth(columnWidthMin)
  shown.forEach(({ query }, index) => builder.withTarget(target(query.text, index).instant().format(PromQueryFormat.Table)))
  // One query alone calls its value so; several, joined, by their letters.
  const fieldOf = (index: number): string => (shown.length === 1 ? 'Value' : `Value #${refIdOf(index)}`)
  const headings = [
    ...Object.entries(labels),
    ...shown.map((one, index) => ['label' in one ? one.label : fieldOf(index), one.heading] as const),
  ]
  const hidden = ['Time', ...shown.flatMap((one, index) => ('label' in one ? [fieldOf(index)] : []))]
  builder.withTransformation({ id: 'merge', options: {} }).withTransformation({
    id: 'organize',
    options: {
      excludeByName: Object.fromEntries(hidden.map((name) => [name, true])),
      indexByName: Object.fromEntries(headings.map(([name], index) => [name, index])),
      renameByName: Object.fromEntries(headings),
    },
  })
  for (const heading of [...Object.values(labels), ...shown.map((column) => column.heading)])
    builder.overrideByName(heading, [{ id: 'noValue', value: emptyCell }])
  for (const column of shown) {
    if ('label' in column) continue
    const { heading, unit, levels } = column
    builder.overrideByName(heading, [
      { id: 'unit', value: unit satisfies Unit },
      ...(levels === undefined
        ? []
        : [
            { id: 'thresholds', value: thresholds(levels).build() },
            { id: 'custom.cellOptions', value: { type: 'color-text' } },
          ]),
    ])
  }
  if (opens !== undefined) {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the variables are Grafana's
    const kept = '${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}&${__url_time_range}'
    const url = `/d/${opens.uid}?var-${opens.label}=\${__value.raw:percentencode}&${kept}`
    builder.overrideByName(labels[opens.label] ?? opens.label, [{ id: 'links', value: [{ title: 'Open', url }] }])
  }
  const sorted = typeof sortBy === 'string' ? [sortBy] : (sortBy ?? [])
  if (sorted.length > 0)
    builder.sortBy(sorted.map((heading) => new TableSortByFieldStateBuilder().displayName(heading).desc(true)))
  return builder
}

function toHeatMap(panel: HeatMap): PanelBuilder {
  const { target: one, unit, rows } = panel
  const isHistogram = rows === 'buckets'
  const builder = describe(new heatmap.PanelBuilder(), panel, { width: columns / 2, height: 8 })
    .calculate(false)
    .maxDataPoints(heatMapColumns)
    .color(new heatmap.HeatmapColorOptionsBuilder().mode(heatmap.HeatmapColorMode.Scheme).scheme('Oranges').steps(64))
    .withTarget(
      target(one.query.text)
        .range()
        .legendFormat(one.legend)
        .format(isHistogram ? PromQueryFormat.Heatmap : PromQueryFormat.TimeSeries),
    )
  // The unit is the axis's, whose values are bounds of buckets; of rows of series it is the cells'.
  if (isHistogram) return builder.unit('short').yAxis(new heatmap.YAxisConfigBuilder().unit(unit))
  return builder.unit(unit).cellValues(new heatmap.CellValuesBuilder().unit(unit))
}

function toNodeGraph(panel: NodeGraph): PanelBuilder {
  const { query, unit } = panel
  return describe(new nodegraph.PanelBuilder(), panel, { width: columns, height: 14 })
    .unit(unit)
    .edges(new nodegraph.EdgeOptionsBuilder().mainStatUnit(unit))
    .withTarget(target(query.text).instant().format(PromQueryFormat.Table))
    .withTransformation({
      id: 'organize',
      options: { excludeByName: { Time: true }, indexByName: {}, renameByName: { Value: 'mainstat' } },
    })
}

/** Each panel has a number, by which links and provisioned alerts know it. */
function number(panels: NonNullable<Dashboard['panels']>): NonNullable<Dashboard['panels']> {
  let last = 0
  return panels.map((panel) => {
    const id = ++last
    return 'panels' in panel && Array.isArray(panel.panels)
      ? { ...panel, id, panels: panel.panels.map((one) => ({ ...one, id: ++last })) }
      : { ...panel, id }
  }) as NonNullable<Dashboard['panels']>
}
