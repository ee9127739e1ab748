4503599627370497.5 * 7
---
builtins.toJSON (4503599627370497.5 * 7)
---
(-(2.0 - 1.0e16)) + (4503599627370497.5 * 2.0)
---
builtins.toXML (let a = { b = a; }; in a)
---
builtins.toXML (let a = [ [ ] [ ] { } { } ]; in [ a a { b = a; } ])
