package ovsdb_test

import "encoding/json"

// jsonMap is the map in one line of "ovs-vsctl --format=json --columns=<a map> list".
func jsonMap(line string) map[string]string {
	var table struct {
		Data [][][2]json.RawMessage `json:"data"`
	}
	found := make(map[string]string)
	if json.Unmarshal([]byte(line), &table) != nil {
		return found
	}
	for _, row := range table.Data {
		var pairs [][2]string
		if json.Unmarshal(row[0][1], &pairs) != nil {
			continue
		}
		for _, pair := range pairs {
			found[pair[0]] = pair[1]
		}
	}
	return found
}
