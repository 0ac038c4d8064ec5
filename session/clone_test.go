package session

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestClone: a clone is the same and shares nothing that can be written to, whatever fields there are.
func TestClone(t *testing.T) {
	for name, s := range valid() {
		if diff := cmp.Diff(s, s.Clone(), same); diff != "" {
			t.Errorf("%s (-original +clone):\n%s", name, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Stored{Session: anySession().Draw(t, "session"), Slot: 7, Round: 8, Accepted: true, Identities: map[string]Identity{"p1": {IfaceID: "a"}}}
		c := s.Clone()
		if diff := cmp.Diff(s, c, same); diff != "" {
			t.Fatalf("-original +clone:\n%s", diff)
		}
	})
	// One with every list, map and pointer that there is.
	var full Stored
	fill(reflect.ValueOf(&full).Elem())
	clone := full.Clone()
	shared(t, "Stored", reflect.ValueOf(full), reflect.ValueOf(clone))
}

// fill gives every list one element, and every map and pointer something.
func fill(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	}
}

// shared reports what two values made by fill have in common.
func shared(t *testing.T, path string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() {
				shared(t, path+"."+f.Name, a.Field(i), b.Field(i))
			}
		}
	case reflect.Slice, reflect.Map, reflect.Pointer:
		if a.IsNil() || b.IsNil() || a.UnsafePointer() == b.UnsafePointer() {
			t.Errorf("%s is shared", path)
		}
		if a.Kind() == reflect.Slice {
			shared(t, path+"[0]", a.Index(0), b.Index(0))
		}
	}
}
