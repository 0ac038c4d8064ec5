package ovsdb

import (
	"maps"
	"reflect"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// The tables that are monitored (vswitchd.conf.db(5)).
const (
	tableOpenVSwitch = "Open_vSwitch"
	tableBridge      = "Bridge"
	tablePort        = "Port"
	tableInterface   = "Interface"
	tableMirror      = "Mirror"
	tableQueue       = "Queue" // of which only the store's row is monitored
)

// The row types below hold the columns that are used and no other: a column that an older Open vSwitch lacks fails the
// whole connection, and columns that change all the time (statistics, status, link_state…) would wake us all the time.
// All of them exist since Open vSwitch 2.17.
//
// libovsdb changes rows by cloning them, so a row that was taken from its cache never changes. Without the methods
// CloneModel and CloneModelInto it would clone through JSON.

type openVSwitchRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Bridges     []string          `ovsdb:"bridges"`
	CurCfg      int               `ovsdb:"cur_cfg"`
	NextCfg     int               `ovsdb:"next_cfg"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OtherConfig map[string]string `ovsdb:"other_config"`
	OVSVersion  *string           `ovsdb:"ovs_version"`
}

func (r *openVSwitchRow) CloneModelInto(to model.Model) {
	c := *r
	c.Bridges = slices.Clone(r.Bridges)
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	c.OtherConfig = maps.Clone(r.OtherConfig)
	*to.(*openVSwitchRow) = c
}

func (r *openVSwitchRow) CloneModel() model.Model {
	c := new(openVSwitchRow)
	r.CloneModelInto(c)
	return c
}

type bridgeRow struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	DatapathType string            `ovsdb:"datapath_type"`
	FailMode     *string           `ovsdb:"fail_mode"`
	Protocols    []string          `ovsdb:"protocols"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
	OtherConfig  map[string]string `ovsdb:"other_config"`
	Ports        []string          `ovsdb:"ports"`
	Mirrors      []string          `ovsdb:"mirrors"`
}

func (r *bridgeRow) CloneModelInto(to model.Model) {
	c := *r
	c.Protocols = slices.Clone(r.Protocols)
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	c.OtherConfig = maps.Clone(r.OtherConfig)
	c.Ports = slices.Clone(r.Ports)
	c.Mirrors = slices.Clone(r.Mirrors)
	*to.(*bridgeRow) = c
}

func (r *bridgeRow) CloneModel() model.Model {
	c := new(bridgeRow)
	r.CloneModelInto(c)
	return c
}

type portRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Tag         *int              `ovsdb:"tag"`
	Trunks      []int             `ovsdb:"trunks"`
	VLANMode    *string           `ovsdb:"vlan_mode"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OtherConfig map[string]string `ovsdb:"other_config"`
	Interfaces  []string          `ovsdb:"interfaces"`
}

func (r *portRow) CloneModelInto(to model.Model) {
	c := *r
	c.Trunks = slices.Clone(r.Trunks)
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	c.OtherConfig = maps.Clone(r.OtherConfig)
	c.Interfaces = slices.Clone(r.Interfaces)
	*to.(*portRow) = c
}

func (r *portRow) CloneModel() model.Model {
	c := new(portRow)
	r.CloneModelInto(c)
	return c
}

type interfaceRow struct {
	UUID          string            `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	Type          string            `ovsdb:"type"`
	Options       map[string]string `ovsdb:"options"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
	OFPort        *int              `ovsdb:"ofport"`
	OFPortRequest *int              `ovsdb:"ofport_request"`
	MTU           *int              `ovsdb:"mtu"`
	MTURequest    *int              `ovsdb:"mtu_request"`
	Error         *string           `ovsdb:"error"`
}

func (r *interfaceRow) CloneModelInto(to model.Model) {
	c := *r
	c.Options = maps.Clone(r.Options)
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	*to.(*interfaceRow) = c
}

func (r *interfaceRow) CloneModel() model.Model {
	c := new(interfaceRow)
	r.CloneModelInto(c)
	return c
}

type mirrorRow struct {
	UUID          string            `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	SelectAll     bool              `ovsdb:"select_all"`
	SelectSrcPort []string          `ovsdb:"select_src_port"`
	SelectDstPort []string          `ovsdb:"select_dst_port"`
	SelectVLAN    []int             `ovsdb:"select_vlan"`
	OutputPort    *string           `ovsdb:"output_port"`
	OutputVLAN    *int              `ovsdb:"output_vlan"`
	Snaplen       *int              `ovsdb:"snaplen"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
}

func (r *mirrorRow) CloneModelInto(to model.Model) {
	c := *r
	c.SelectSrcPort = slices.Clone(r.SelectSrcPort)
	c.SelectDstPort = slices.Clone(r.SelectDstPort)
	c.SelectVLAN = slices.Clone(r.SelectVLAN)
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	*to.(*mirrorRow) = c
}

func (r *mirrorRow) CloneModel() model.Model {
	c := new(mirrorRow)
	r.CloneModelInto(c)
	return c
}

// queueRow is the row that the store is in (places.go).
type queueRow struct {
	UUID        string            `ovsdb:"_uuid"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

func (r *queueRow) CloneModelInto(to model.Model) {
	c := *r
	c.ExternalIDs = maps.Clone(r.ExternalIDs)
	*to.(*queueRow) = c
}

func (r *queueRow) CloneModel() model.Model {
	c := new(queueRow)
	r.CloneModelInto(c)
	return c
}

// models has an empty row of each table.
func models() map[string]model.Model {
	return map[string]model.Model{
		tableOpenVSwitch: &openVSwitchRow{},
		tableBridge:      &bridgeRow{},
		tablePort:        &portRow{},
		tableInterface:   &interfaceRow{},
		tableMirror:      &mirrorRow{},
		tableQueue:       &queueRow{},
	}
}

// columns are the names of a row's columns. Every row has _uuid, without being asked for.
func columns(row model.Model) []string {
	var names []string
	fields := reflect.TypeOf(row).Elem()
	for i := range fields.NumField() {
		if name := fields.Field(i).Tag.Get("ovsdb"); name != "_uuid" {
			names = append(names, name)
		}
	}
	return names
}
